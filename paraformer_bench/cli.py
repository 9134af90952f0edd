"""The commands: parse, call, print. What they do lives elsewhere and is imported on demand."""

from __future__ import annotations

import math
import re
import sys
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from paraformer_bench.study import __version__
from paraformer_bench.study.case import DTYPES, LIMITS, MODES, SCOPES
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import MOST_SHARDS
from paraformer_bench.study.timelines import CHOICES

Command = Callable[..., Any]

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


class _Value(click.ParamType):  # type: ignore[type-arg]  # not in click 8.1
    """What an option holds, and how people write it.

    Attributes:
        name: What it is, in words.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text of an option; what is no text has been read before."""
        read = self.read(value) if isinstance(value, str) else value
        return self.fail(f"{value!r} is not {self.name}", param, ctx) if read is None else read

    @abstractmethod
    def read(self, text: str) -> Any:
        """Return the value, or None if the text is none."""


class Names(_Value):
    """A comma list of names."""

    name = "a comma list of names"

    def read(self, text: str) -> list[str] | None:
        """Return the names."""
        names = [name.strip() for name in text.split(",")]
        return names if all(names) else None


class Numbers(_Value):
    """A comma list of whole numbers within the limits of an axis."""

    def __init__(self, axis: str) -> None:
        self._most = LIMITS[axis]
        self.name = f"a comma list of whole numbers from 1 to {self._most}"

    def read(self, text: str) -> list[int] | None:
        """Return the numbers."""
        parts = [part.strip() for part in text.split(",")]
        if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
            return None
        numbers = [int(part) for part in parts]
        return numbers if all(1 <= number <= self._most for number in numbers) else None


class Duration(_Value):
    """Seconds, written as 90s, 8m or 1h; a bare number is seconds."""

    name = "a time such as 90s, 8m or 1h"

    def read(self, text: str) -> float | None:
        """Return seconds."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip(), re.ASCII)
        seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
        return seconds if 0 < seconds < math.inf else None  # digits enough make a float infinite


class Share(_Value):
    """A share below 1, written as 5% or 0.05."""

    name = "a share from 0% to below 100%, such as 5% or 0.05"

    def read(self, text: str) -> float | None:
        """Return the share."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)(%?)", text.strip(), re.ASCII)
        share = float(match[1]) / (100 if match[2] else 1) if match else -1.0
        return share if 0 <= share < 1 else None


class ShardOf(_Value):
    """Which shard to do, and of how many, written as 2/5."""

    name = f"a shard such as 2/5: the second of five, {MOST_SHARDS} at most"

    def read(self, text: str) -> tuple[int, int] | None:
        """Return the two numbers."""
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip(), re.ASCII)
        number, of = (int(match[1]), int(match[2])) if match else (0, 0)
        return (number, of) if 1 <= number <= of <= MOST_SHARDS else None


def device_of(gpu: int | None, device: str | None) -> str | None:
    """Return the device that one of the two options names, or None."""
    if gpu is not None and device is not None:
        raise UsageError("give --gpu or --device, not both")
    return device if gpu is None else f"cuda:{gpu}"


def _names(option: str, help: str = "Instead of the suite's.") -> Callable[[Command], Command]:
    """An option for several names."""
    return click.option(option, type=Names(), metavar="NAME,...", help=help)


def _numbers(axis: str, help: str = "Instead of the suite's.") -> Callable[[Command], Command]:
    """An option for several values of an axis."""
    return click.option(f"--{axis}", type=Numbers(axis), metavar="N,...", help=help)


plugin_option = click.option(
    "--plugin",
    "plugins",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE.py",
    help="Load models, executions or runtimes from here (repeatable).",
)


@click.group(invoke_without_command=True)
@click.version_option(__version__, prog_name="paraformer_bench")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Measure whether a network's inference time stays constant with depth."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@cli.command()
@click.option("--gpu", type=click.IntRange(0), metavar="N", help="Measure on GPU N.")
@click.option("--device", metavar="cpu|cuda:N", help="Measure on this device.")
@click.option("--suite", metavar="NAME|FILE.toml", help="What to measure (default: quick).")
@_names("--models")
@_names("--executions")
@_names("--runtimes")
@_numbers("depth")
@_numbers("width")
@_numbers("batch")
@_names("--dtype")
@_numbers("devices", "Devices one case uses.")
@click.option("--blocks", type=click.IntRange(1, 10_000), metavar="N", help="Fresh processes.")
@click.option(
    "--budget",
    type=Duration(),
    metavar="TIME",
    help="Start no block that would end later (8m).",
)
@plugin_option
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Run folder.")
@click.option(
    "--resume", is_flag=True, help="Go on with the run in --out, or the newest open one."
)
@click.option(
    "--profile",
    type=click.Choice(CHOICES),
    help="Kernel timelines after timing: of no case, of each curve's ends (default), of all.",
)
@click.option(
    "--shard",
    type=ShardOf(),
    metavar="K/N",
    help="Do the Kth of N parts, as a job of its own.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be measured and stop.")
@click.option(
    "--launcher", type=click.Choice(["local", "ray"]), help="Run workers here or on a cluster."
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    help="The Ray cluster (default: $RAY_ADDRESS, else one on this machine).",
)
@click.option(
    "--ray-nodes",
    metavar="TEXT",
    help="Use only nodes whose host or device name contains this.",
)
def sweep(
    gpu: int | None,
    device: str | None,
    suite: str | None,
    plugins: tuple[Path, ...],
    blocks: int | None,
    budget: float | None,
    out: Path | None,
    resume: bool,
    profile: str | None,
    shard: tuple[int, int] | None,
    dry_run: bool,
    launcher: str | None,
    ray_address: str | None,
    ray_nodes: str | None,
    **axes: list[Any] | None,
) -> int:
    """Measure, judge and report: the main job."""
    from paraformer_bench.sweep import command
    from paraformer_bench.sweep.plan import Settings

    settings = Settings(
        suite=suite,
        axes={name: values for name, values in axes.items() if values is not None},
        device=device_of(gpu, device),
        plugins=plugins,
        blocks=blocks,
        budget_seconds=budget,
        out=out,
        resume=resume,
        profile=profile,
        shard=shard,
        command=("python", "-m", "paraformer_bench", *sys.argv[1:]),
        launcher=launcher,
        ray_address=ray_address,
        ray_nodes=ray_nodes,
    )
    return command.dry_run(settings) if dry_run else command.sweep(settings)


def _size(name: str, default: int) -> Callable[[Command], Command]:
    """An option for one value of an axis."""
    most = LIMITS[name]
    return click.option(
        f"--{name}", type=click.IntRange(1, most), default=default, show_default=True, metavar="N"
    )


@cli.command()
@click.option("--gpu", type=click.IntRange(0), metavar="N", help="Run on GPU N.")
@click.option("--device", metavar="cpu|cuda:N", help="Run on this device.")
@click.option("--model", default="paraformer", show_default=True, metavar="NAME")
@click.option("--execution", default="loop", show_default=True, metavar="NAME")
@click.option("--runtime", default="eager", show_default=True, metavar="NAME")
@_size("depth", 8)
@_size("width", 192)
@_size("batch", 1)
@_size("tokens", 197)
@click.option("--dtype", type=click.Choice(DTYPES), default=DTYPES[0], show_default=True)
@click.option("--mode", type=click.Choice(MODES), default=MODES[0], show_default=True)
@click.option("--scope", type=click.Choice(SCOPES), default=SCOPES[0], show_default=True)
@plugin_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("reports/traces"),
    show_default=True,
    metavar="DIR",
    help="Receives a folder for the case.",
)
def profile(
    gpu: int | None, device: str | None, plugins: tuple[Path, ...], out: Path, **axes: Any
) -> int:
    """Take the kernel timeline of one case."""
    from paraformer_bench.sweep.timelines import profile_one

    return profile_one(axes, device_of(gpu, device), plugins, out)


@cli.command()
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, metavar="[RUN]...")
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "md"]),
    default="html",
    show_default=True,
    help="Rebuild the pages, or print Markdown for a pull request.",
)
def report(runs: tuple[Path, ...], form: str) -> None:
    """Judge runs again and rebuild their pages (without RUN: all in reports/)."""
    from paraformer_bench.report import command

    for said in command.report(runs, form):
        click.echo(said)


@cli.command()
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="The new run folder.",
)
def merge(runs: tuple[Path, ...], out: Path) -> None:
    """Join the run folders of shards (sweep --shard) into one run, and report it."""
    from paraformer_bench.clusters import merge as command

    for said in command.merge(runs, out, ("python", "-m", "paraformer_bench", *sys.argv[1:])):
        click.echo(said)


@cli.command()
@click.argument(
    "runs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RUN RUN..."
)
@click.option(
    "--threshold",
    type=float,
    default=0.03,
    show_default=True,
    metavar="SHARE",
    help="Change that counts, such as 0.03 for 3%.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.html", help="The page.")
def compare(runs: tuple[Path, ...], threshold: float, out: Path | None) -> int:
    """Judge runs against the first one case by case; exit code 1 if something is slower.

    The page draws all of them on the same axes.
    """
    from paraformer_bench.console import print_contrasts
    from paraformer_bench.report.comparison import contend, default_path, write_comparison
    from paraformer_bench.study.run_folder import read_run

    if len(runs) < 2:
        raise UsageError(
            "compare takes two runs or more: the first is what the others are held to"
        )
    comparison = contend([read_run(run) for run in runs], threshold)
    for one in comparison.contenders[1:]:
        print_contrasts(one.contrasts, one.letter, one.shift)
    path = out or default_path(comparison)
    click.echo(f"page: {write_comparison(path, comparison)}")
    return int(comparison.slower)


@cli.command()
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="asv's results (default: as asv.conf.json says).",
)
@click.option("--machine", metavar="NAME", help="Results of this machine alone.")
@click.option(
    "--threshold",
    type=Share(),
    default="5%",
    show_default=True,
    metavar="SHARE",
    help="Change that counts.",
)
@click.option("--last", type=click.IntRange(1), metavar="N", help="Tell of the last N commits.")
@click.option("--commits", metavar="A..B", help="Tell of the commits after A up to B.")
@click.option("--json", "json_file", metavar="FILE|-", help="Write the changes as JSON.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Write a page into it."
)
def regressions(
    results: Path | None,
    machine: str | None,
    threshold: float,
    last: int | None,
    commits: str | None,
    json_file: str | None,
    out: Path | None,
) -> int:
    """Find what became slower or larger over commits; exit code 1 if something did."""
    from paraformer_bench.history.judge import look
    from paraformer_bench.report.changes import lines, one_line
    from paraformer_bench.report.changes_page import write_changes, write_json

    judgement, warnings = look(results, machine, threshold, last, commits)
    for warning in warnings:
        click.echo(one_line(f"warning: {warning}"), err=True)
    if json_file is not None:
        write_json(json_file, judgement.changes)
    if json_file != "-":
        for line in lines(judgement):
            click.echo(line)
    if out is not None:
        page = write_changes(out, judgement, warnings)
        click.echo(f"page: {page}", err=json_file == "-")
    return int(bool(judgement.regressions))


@cli.command("list")
@click.argument(
    "what", type=click.Choice(["models", "executions", "runtimes", "suites"]), required=False
)
@plugin_option
def list_(what: str | None, plugins: tuple[Path, ...]) -> None:
    """Show what can be measured: models, executions, runtimes and suites."""
    from paraformer_bench.console import print_catalogue

    print_catalogue(what, plugins)


@cli.command()
@click.option("--calibrate", is_flag=True, help="Measure known delays, about 10 s.")
@click.option("--ceilings", is_flag=True, help="Measure what the device can do at best.")
@click.option("--device", metavar="cpu|cuda:N", help="Measure on this device.")
def doctor(calibrate: bool, ceilings: bool, device: str | None) -> None:
    """Look at this machine: what would spoil a measurement, and how to fix it."""
    from paraformer_bench.console import print_calibration, print_ceilings, print_findings
    from paraformer_bench.doctor import diagnose, judge, look_at_load
    from paraformer_bench.study.survey import choose_device
    from paraformer_bench.workers.ask import calibrate as read_delays
    from paraformer_bench.workers.ask import measure_ceilings, take_survey

    if device is not None and not (calibrate or ceilings):
        raise UsageError("--device says what to measure: give --calibrate or --ceilings with it")
    survey = take_survey()
    chosen = choose_device(survey, device)
    findings = diagnose(survey, look_at_load())
    if calibrate:
        from paraformer_bench.study.machine_file import CALIBRATIONS

        calibration = read_delays(survey, chosen)
        print_calibration(calibration, CALIBRATIONS.keep(calibration))
        findings.append(judge(calibration))
    if ceilings:
        from paraformer_bench.study.machine_file import CEILINGS
        from paraformer_bench.sweep.run import disturbances

        measured = measure_ceilings(survey, chosen, DTYPES)
        print_ceilings(measured, [*disturbances(measured), *CEILINGS.keep(measured)])
    print_findings(findings, survey.versions)
