"""The command ``merge``: read, check, join, write, report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from paraformer_bench.analysis.claim import verdict_file
from paraformer_bench.analysis.words import more_blocks, sentences
from paraformer_bench.clusters.comparable import refuse_mixture
from paraformer_bench.clusters.merge_folder import refuse_existing, write_run
from paraformer_bench.clusters.merge_join import join_info, join_parts, join_records
from paraformer_bench.clusters.merge_source import Source, read_source
from paraformer_bench.report.build import build_report
from paraformer_bench.report.index import build_index
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import REPORTS, RUN, read_run
from paraformer_bench.sweep.command import resume_command


def merge(folders: Sequence[Path], out: Path, command: Sequence[str]) -> Iterator[str]:
    """Join the folders of shards into one run, report it, and yield what to print.

    Args:
        folders: Run folders of shards, or of runs that were merged before.
        out: The new run folder.
        command: The command as typed, kept for the record.

    Raises:
        UsageError: A folder cannot be read, they are no parts of one run, or ``out`` is there
            already or cannot be written. Nothing is written then.
    """
    refuse_existing(out)
    sources = sorted(map(read_source, folders), key=_place)
    refuse_mixture(sources)
    joined = join_records(sources)
    try:
        parts = join_parts(sources)
        info = join_info(sources, parts, joined, out.resolve().name, command)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise UsageError(f"cannot merge: a {RUN} among them makes no sense: {error}") from None
    write_run(out, info, joined.lines, sources)
    for source in sources:
        yield from (f"warning: {warning}" for warning in source.warnings)
    if joined.repeated:
        yield (
            f"{joined.repeated} records that stood in several folders to the letter are kept once"
        )
    # What was measured here would be measured twice if its shards were to go on.
    continued = any(part.shard is None for part in parts)
    shards = {part.shard.number: part.shard.of for part in parts if part.shard}
    yield f"merged {len(shards)} of {max(shards.values())} shards: {len(joined.lines)} records"
    if info["missing"]:
        others = "" if continued else "finish them and merge again, or "
        yield (
            f"the run is unfinished without {', '.join(info['missing'])}: {others}measure the "
            f"rest here with: {resume_command(out)}"
        )
    yield f"report: {build_report(out)}"
    if out.resolve().parent.name == REPORTS.name:
        build_index(out.parent)
    run = read_run(out)
    verdicts = verdict_file(run)
    yield from sentences(verdicts, run.info)
    if not info["missing"] and (more := more_blocks(verdicts)):
        blocks, sentence = more
        if continued:
            yield f"{sentence}: {resume_command(out)} --blocks {blocks}"
        else:
            yield f"{sentence}: resume every shard with --blocks {blocks}, and merge again"


def _place(source: Source) -> tuple[int, str]:
    """By the first shard in it: the result must not depend on the order of the command."""
    numbers = [part.shard.number for part in source.parts if part.shard]
    if not numbers:
        raise UsageError(f"cannot merge {source.folder}: it holds no shard")
    return min(numbers), str(source.folder)
