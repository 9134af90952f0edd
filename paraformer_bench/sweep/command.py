"""The command ``sweep`` from start to last line."""

from __future__ import annotations

import errno
import shlex
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console

from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import RUN, now
from paraformer_bench.study.words import count
from paraformer_bench.sweep.plan import Settings, Study
from paraformer_bench.sweep.progress import (
    describe_nodes,
    describe_plan,
    duration,
    empty,
    energy_line,
    headline,
)
from paraformer_bench.sweep.resume import find_run
from paraformer_bench.sweep.run import Outcome, ceilings_needed, run_sweep
from paraformer_bench.sweep.setup import Launcher, open_store, set_up, suite_of
from paraformer_bench.sweep.signals import Hold, interruptible, signals_held
from paraformer_bench.sweep.store import Store

if TYPE_CHECKING:
    from paraformer_bench.clusters.ray import RayCluster

BROKEN_CASES = 3
INTERRUPTED = 130


def dry_run(settings: Settings) -> int:
    """Print what a sweep would do."""
    run = find_run(settings)
    with Launcher.of(settings, run).connected(print) as cluster:
        study = set_up(settings, run, cluster)
        nodes = cluster.nodes if cluster else []
    for line in (headline(study), *describe_nodes(nodes), *describe_plan(study)):
        print(line)
    if nothing := empty(study.plan):
        print(nothing)
    if ceilings_needed(study):
        print("  before that: the ceilings of the device, a few seconds")
    return 0


def sweep(settings: Settings) -> int:
    """Run a sweep and report it.

    A signal that comes while something is measured or looked at ends that at once; one that comes
    later, while the page is built, say, has to wait for it.

    Returns:
        The exit code: 0, 3 when some case ended as error, timeout or mismatch, or 130.

    Raises:
        UsageError: The request is wrong, or the run folder can no longer be written.
    """
    started = time.monotonic()
    console = Console(soft_wrap=True, highlight=False, markup=False)
    run = find_run(settings)
    launcher = Launcher.of(settings, run)
    with (
        interruptible(),
        launcher.connected(console.print) as cluster,
        interruptible(),  # once more: Ray has set a handler of its own
    ):
        study = set_up(settings, run, cluster)
        with signals_held() as hold:
            try:
                _announce(study, settings, cluster, console)
                store, outcome = _measure(
                    study, settings, launcher, cluster, console, started, hold
                )
                _report(store, study, outcome, console)
            except KeyboardInterrupt:  # the second signal
                if (study.folder / RUN).exists():
                    console.print(_interrupted(study))
                return INTERRUPTED
            if outcome.interrupted or hold.came:
                console.print(_interrupted(study))
                return INTERRUPTED
    return BROKEN_CASES if outcome.broken else 0


def _announce(
    study: Study, settings: Settings, cluster: RayCluster | None, console: Console
) -> None:
    """Say what will be done."""
    console.print(headline(study))
    for line in describe_nodes(cluster.nodes if cluster else ()):
        console.print(line)
    if settings.device is None and not settings.resume:
        console.print(f"no device was named: taking {study.plan.device}")
    if nothing := empty(study.plan):
        console.print(nothing)
    for reason in sorted(set(study.plan.skipped.values())):
        console.print(f"skipping cases: {reason}")
    if study.plan.cases and (energy := energy_line(study)):
        console.print(energy)


def _measure(
    study: Study,
    settings: Settings,
    launcher: Launcher,
    cluster: RayCluster | None,
    console: Console,
    started: float,
    hold: Hold,
) -> tuple[Store, Outcome]:
    """Measure into the run folder, which is closed afterwards.

    Raises:
        UsageError: The folder cannot be written.
    """
    with open_store(study, settings) as store:
        for warning in (*study.warnings, *store.warnings):
            console.print(f"warning: {warning}")
        try:
            if study.resumed:  # its number of blocks may be another now
                store.update(**suite_of(study), finished=None)
            launcher.note(store, cluster)
            outcome = run_sweep(
                study, store, console, started, cluster=cluster, interruptible=hold.released
            )
            launcher.note(store, cluster)  # nodes may have joined
            if not outcome.interrupted:
                store.update(finished=now())
        except OSError as error:
            raise _lost_folder(store, error) from None
    return store, outcome


def _interrupted(study: Study) -> str:
    return f"interrupted; resume with: {resume_command(study.folder)}"


def resume_command(folder: Path) -> str:
    """Return the command that goes on with the run in ``folder``."""
    return f"python -m paraformer_bench sweep --resume --out {shlex.quote(str(folder))}"


def _report(store: Store, study: Study, outcome: Outcome, console: Console) -> None:
    """Judge what was measured, build the pages, print the verdict last."""
    from paraformer_bench.analysis.claim import verdict_file
    from paraformer_bench.analysis.words import more_blocks, sentences
    from paraformer_bench.report.build import build_report
    from paraformer_bench.report.index import build_index
    from paraformer_bench.study.run_folder import read_run

    page = build_report(store.folder)
    shard = study.plan.shard
    # Shards are jobs beside each other: they leave the list of runs to whoever merges them.
    if store.folder.resolve().parent.name == "reports" and shard is None:
        build_index(store.folder.parent)
    if efficiency := store.info.efficiency:
        of_what = "it" if efficiency.device_seconds is None else "the devices' time"
        console.print(
            f"{count(outcome.blocks, 'block')} in {duration(efficiency.wall_seconds)}, "
            f"{efficiency.share or 0:.0%} of {of_what} in warm-up or timed calls"
        )
    if timelines := _timelines(store):
        console.print(timelines)
    if outcome.broken:
        console.print(
            f"{outcome.broken} records ended as error, timeout or mismatch: see the page"
        )
    console.print(f"report: {page}")
    if shard:
        console.print(f"this is shard {shard} of a run: merge joins them, and judges all of it")
    run = read_run(store.folder)
    verdicts = verdict_file(run)
    for sentence in sentences(verdicts, run.info):
        console.print(sentence)
    if not outcome.interrupted and not shard and (more := more_blocks(verdicts)):
        blocks, sentence = more
        console.print(f"{sentence}: {resume_command(store.folder)} --blocks {blocks}")


def _timelines(store: Store) -> str | None:
    """One line on the timelines of the run, if any were asked for."""
    profiles = list((store.info.profiles or {}).values())
    if not profiles:
        return None
    size = sum(profile.bytes for profile in profiles) / 1e6
    slower = [profile.slowdown for profile in profiles if profile.slowdown]
    taken = f"{len(slower)} timelines of {len(profiles)}, {size:.1f} MB"
    if not slower:
        return f"{taken}: see profiles in {RUN} for the reasons"
    return f"{taken}; under the profiler a call took {median(slower):.2f} times as long"


def _lost_folder(store: Store, error: OSError) -> UsageError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return UsageError(
        f"cannot write to {store.folder}: {error.strerror}; {len(store.done)} records are safe, "
        f"{'make room and ' if full else ''}go on with: {resume_command(store.folder)}"
    )
