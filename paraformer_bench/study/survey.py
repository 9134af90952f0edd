"""What can be measured here and on what, as a child process found it. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from paraformer_bench.study.ceilings import Place
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.registry import ExecutionTraits, ModelTraits, RuntimeTraits
from paraformer_bench.study.run_folder import Tree


@dataclass(frozen=True)
class Survey:
    """Names that can be asked for, and where they would run.

    Attributes:
        models: By name.
        executions: By name.
        runtimes: By name.
        environment: As `instrument.environment.collect` returns it.
        versions: Of Python and packages.
        installed_plugins: Name and version of every installed package that provides some.
    """

    models: dict[str, ModelTraits]
    executions: dict[str, ExecutionTraits]
    runtimes: dict[str, RuntimeTraits]
    environment: Tree
    versions: dict[str, str]
    installed_plugins: dict[str, str] = field(default_factory=dict)

    @property
    def gpus(self) -> list[str]:
        """Names of the CUDA devices that PyTorch sees, such as ``cuda:0``."""
        return [name for name in self.environment["devices"] if name.startswith("cuda")]

    def place(self, device: str) -> Place:
        """Return what is measured when a device of this machine is."""
        host, name = self.environment["host"]["name"], self.environment["devices"][device]
        return Place(str(host), device, str(name), self.versions.get("torch", "?"))


def choose_device(survey: Survey, asked: str | None) -> str:
    """Return the device to measure on: the one asked for, else GPU 0, else the CPU.

    Args:
        survey: Knows which GPUs there are.
        asked: ``cpu``, ``cuda:N`` or None.

    Raises:
        UsageError: The device is malformed or not there.
    """
    if asked is None:
        return survey.gpus[0] if survey.gpus else "cpu"
    if asked == "cpu":
        return asked
    kind, _, index = asked.partition(":")
    if kind != "cuda" or not index.isdecimal():
        raise UsageError(f"device {asked!r} is not known: allowed are cpu and cuda:N")
    if not survey.gpus:
        torch = survey.versions.get("torch", "?")
        raise UsageError(
            f"device {asked} is not there: torch {torch} sees no CUDA device; use --device cpu"
        )
    if asked not in survey.gpus:
        raise UsageError(f"device {asked} is not there: there are {', '.join(survey.gpus)}")
    return asked
