"""The command ``sweep`` from start to last line."""

from __future__ import annotations

import errno
import shlex
import time
from pathlib import Path
from statistics import median

from rich.console import Console

from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.profiling import Profile
from paraformer_bench.study.run_folder import RUN, now
from paraformer_bench.sweep.describe import describe_machines, empty, energy_line, headline
from paraformer_bench.sweep.describe import dry_run as describe
from paraformer_bench.sweep.launcher import Launcher, open_launcher
from paraformer_bench.sweep.probe import needed, note_ceilings
from paraformer_bench.sweep.profile import known_profiles
from paraformer_bench.sweep.progress import count, duration
from paraformer_bench.sweep.run import Outcome, run_sweep
from paraformer_bench.sweep.setup import open_store, set_up, suite_of
from paraformer_bench.sweep.signals import Hold, held, interruptible
from paraformer_bench.sweep.sitting import Sitting
from paraformer_bench.sweep.store import Store
from paraformer_bench.sweep.study import Settings, Study

BROKEN_CASES = 3
INTERRUPTED = 130


def dry_run(settings: Settings) -> int:
    """Print what a sweep would do."""
    with open_launcher(settings, print) as launcher:
        study = set_up(settings, launcher.survey)
        machines = launcher.machines()
    print(headline(study))
    for line in (*describe_machines(machines), *describe(study)):
        print(line)
    if nothing := empty(study.plan):
        print(nothing)
    if needed(study):
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
    with (
        interruptible(),
        open_launcher(settings, console.print) as launcher,
        interruptible(),  # once more: Ray has set a handler of its own
    ):
        study = set_up(settings, launcher.survey)
        with held() as hold:
            try:
                return _sweep(study, settings, launcher, console, started, hold)
            except KeyboardInterrupt:  # the second signal
                if (study.folder / RUN).exists():
                    console.print(_interrupted(study))
                return INTERRUPTED


def _sweep(
    study: Study,
    settings: Settings,
    launcher: Launcher,
    console: Console,
    started: float,
    hold: Hold,
) -> int:
    console.print(headline(study))
    for line in describe_machines(launcher.machines()):
        console.print(line)
    if settings.device is None and not settings.resume:
        console.print(f"no device was named: taking {study.plan.device}")
    if nothing := empty(study.plan):
        console.print(nothing)
    for reason in sorted(set(study.plan.skipped.values())):
        console.print(f"skipping cases: {reason}")
    if study.plan.cases and (energy := energy_line(study)):
        console.print(energy)
    with open_store(study, settings) as store:
        for warning in (*study.warnings, *store.warnings):
            console.print(f"warning: {warning}")
        try:
            if study.resumed:  # its number of blocks may be another now
                store.update(**suite_of(study), finished=None)
            store.update(**launcher.facts())
            sitting = Sitting.begin(study, settings, store) if "parts" in store.info else None
            outcome = run_sweep(
                study.plan,
                store,
                launcher.schedule,
                console,
                started,
                launch_profiler=launcher.launch_profiler,
                first=lambda: note_ceilings(study, store, console, launcher.start),
                interruptible=hold.released,
            )
            store.update(**launcher.facts())  # nodes may have joined
            if sitting:
                sitting.end(outcome.interrupted)
            elif not outcome.interrupted:
                store.update(finished=now())
        except OSError as error:
            raise _lost_folder(store, error) from None
    _report(store, study, outcome, console)
    if outcome.interrupted or hold.came:
        console.print(_interrupted(study))
        return INTERRUPTED
    if missing := store.info.get("missing"):
        console.print(
            f"the run is unfinished without {', '.join(missing)}; go on with: "
            f"{resume_command(study.folder)}"
        )
    return BROKEN_CASES if outcome.broken else 0


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
    if efficiency := store.info["efficiency"]:  # of a merged run it may be unknown
        of_what = "the devices' time" if "device_seconds" in efficiency else "it"
        console.print(
            f"{count(outcome.blocks, 'block')} in {duration(efficiency['wall_seconds'])}, "
            f"{efficiency['share'] or 0:.0%} of {of_what} in warm-up or timed calls"
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
    profiles = [Profile.from_json(data) for data in known_profiles(store).values()]
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
