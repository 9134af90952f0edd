"""What a run says of itself: its answer in a few large words, and its ``run.json`` as text."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from paraformer_bench.analysis import words
from paraformer_bench.analysis.claim import Verdict
from paraformer_bench.analysis.curve import CONSTANT, INCONCLUSIVE
from paraformer_bench.study.case import mode_word
from paraformer_bench.study.run_folder import Part, RunInfo, Tree

_SYMBOLS = {"supported": "→", "refuted": "↗", "mixed": "⇄", "undecided": "?"}


@dataclass(frozen=True)
class Headline:
    """What a run says about the claim: `words.answer`, its mark, and all of it in words.

    ``sentences`` has one for each device and mode.
    """

    answer: str
    symbol: str
    question: str
    title: str
    sentences: list[str]


def headline(verdicts: Sequence[Verdict], info: RunInfo) -> Headline:
    """Return the answer that a run's verdicts give."""
    controls = words.controls_of(info)
    answer = words.answer(verdicts, controls)
    parallel = [v for v in words.deciding(verdicts) if v.model not in controls]
    modes = sorted({mode_word(verdict.curve.regime.mode) for verdict in verdicts}) or ["inference"]
    return Headline(
        answer,
        _SYMBOLS[answer],
        f"Does {' and '.join(modes)} time stay constant as the net gets deeper?",
        _title(answer, verdicts, parallel),
        words.sentences(verdicts, info),
    )


def _title(answer: str, verdicts: Sequence[Verdict], parallel: Sequence[Verdict]) -> str:
    if not verdicts:
        return "No answer: nothing was measured."
    if not parallel:
        return "No answer: no parallel net was measured."
    if answer == "supported":
        deepest = sorted({verdict.depths[-1] for verdict in parallel})
        span = f"{deepest[0]}" if len(deepest) == 1 else f"{deepest[0]} to {deepest[-1]}"
        statuses = {missing.status for verdict in parallel for missing in verdict.missing}
        limit = "there was memory for" if "oom" in statuses else "was tested"
        return f"Yes, as deep as {limit}: L = {span}."
    kinds = {words.standing(verdict) for verdict in parallel}
    if answer == "mixed" and INCONCLUSIVE in kinds and len(kinds) == 2:
        known = "stay constant" if CONSTANT in kinds else "grow"
        return f"Some curves {known}, the others are not settled."
    if answer == "undecided" and all(words.standing(v) != v.verdict for v in parallel):
        return "Not settled: deeper nets could not be timed."
    return {
        "refuted": "No. Time grows with depth.",
        "mixed": "It depends on how and where the net is run.",
        "undecided": "Not settled yet: more blocks are needed.",
    }[answer]


def table(tree: Tree, name: str) -> Tree:
    """Return the mapping of this name, or an empty one where there is none."""
    value = tree.get(name)
    return value if isinstance(value, dict) else {}


def suite_name(info: RunInfo) -> str:
    """Return the name of the suite; empty if unknown."""
    return str(info.suite.get("name") or "")


def hardware(used: Iterable[str], info: RunInfo) -> str:
    """Return devices with the names of their hardware, as far as it is known."""
    names = info.device_names
    return "; ".join(f"{d} ({names[d]})" if names.get(d) else d for d in dict.fromkeys(used))


def commit(info: RunInfo) -> str:
    """Return the commit, shortened; ``+changes`` stays, for it matters."""
    head, plus, changes = (info.commit or "").partition("+")
    return head[:12] + plus + changes


def command(info: RunInfo | Part) -> str:
    """Return the command that made the run, ready for a shell; empty if unknown."""
    told = info.command or ""
    return told if isinstance(told, str) else shlex.join(told)


def scalar(value: Any) -> str:
    """Return a value that is not looked into."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value) if value != {} else "none"
