"""What asv does differently in this repository: `plugins` in asv.conf.json names this file.

- The environment type ``overlay``: a bare virtual environment that sees the packages of the Python
  that runs asv. Nothing is downloaded, torch is not installed again, and it takes a second.
- Machines are described with their GPU, its driver and torch, so that asv draws a curve of its own
  wherever one of them differs. On a new machine no question is asked.
- ``asv run`` keeps samples, as ``asv continuous`` does by itself: without them neither
  ``asv compare`` nor ``python -m paraformer_bench regressions`` can test anything.
"""

from __future__ import annotations

import argparse
import site
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asv.commands.continuous import Continuous
from asv.commands.run import Run
from asv.config import Config
from asv.environment import EnvironmentUnavailable
from asv.machine import Machine, MachineCollection
from asv.plugins.virtualenv import Virtualenv
from asv.util import UserError

from paraformer_bench.study.errors import UsageError
from paraformer_bench.workers.ask import take_survey

SHARED = "packages-of-the-calling-python.pth"

Command = Callable[..., Any]


def setup() -> None:
    """Prepare both commands that measure; asv calls this once, before either of them runs."""
    for command in (Run, Continuous):
        command.run_from_conf_args = staticmethod(_prepared(command.run_from_conf_args))


class Overlay(Virtualenv):
    """A virtual environment on top of the packages that the Python running asv has.

    What is installed into it, the commit under test, comes first on its path. The folders below
    are entered as plain paths, so their own ``.pth`` files are not read: an editable install of
    this checkout there cannot take the place of a commit.
    """

    tool_name = "overlay"

    def __init__(self, conf: Config, python: str, *settings: Any) -> None:
        if python != f"{sys.version_info[0]}.{sys.version_info[1]}":
            raise EnvironmentUnavailable(
                f"overlay has the Python that runs asv, {sys.version.split()[0]}, not {python}"
            )
        super().__init__(conf, python, *settings)
        self._executable = sys.executable

    def create(self) -> None:
        """Create the environment if it is not there, and point it at this very Python."""
        super().create()
        (packages,) = Path(self._path).glob("lib*/**/site-packages")
        lines = "".join(f"{folder}\n" for folder in package_folders())
        (packages / SHARED).write_text(lines, encoding="utf-8")

    def _install_requirements(self) -> None:
        """Install nothing: what asv and the project need is where asv itself runs."""


def package_folders() -> list[str]:
    """Folders from which this Python imports installed packages."""
    folders = site.getsitepackages()
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    return [folder for folder in folders if Path(folder).is_dir()]


def note_machine(name: str | None) -> None:
    """Keep what is known of this machine, its GPU, driver and torch in asv's machine file.

    Args:
        name: What ``--machine`` says; None for this machine.

    Raises:
        UserError: torch cannot be loaded.
    """
    name = name or Machine.get_unique_machine_name()
    try:
        known = MachineCollection.load(name)
    except UserError:
        known = Machine.get_defaults() | {"machine": name}
    MachineCollection.save(known["machine"], known | device_facts())


def device_facts() -> dict[str, str]:
    """GPU 0, its driver and torch, as text; ``none`` where there is no GPU.

    Raises:
        UserError: torch cannot be loaded.
    """
    try:
        survey = take_survey()
    except UsageError as error:
        raise UserError(str(error)) from None
    gpu = survey.environment["gpus"].get("cuda:0", {"name": "none", "driver": "none"})
    return {
        "gpu": gpu["name"],
        "driver": gpu.get("driver") or "unknown",
        "torch": survey.versions["torch"],
    }


def _prepared(run: Command) -> Command:
    def prepared(conf: Config, args: argparse.Namespace, **settings: Any) -> Any:
        note_machine(args.machine)
        args.record_samples = True
        return run(conf, args, **settings)

    return prepared
