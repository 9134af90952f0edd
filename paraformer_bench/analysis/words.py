"""Verdicts in plain words: one sentence a device and mode, one phrase a curve."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from msgspec.structs import replace

from paraformer_bench.analysis.curve import CONSTANT, GROWS, INCONCLUSIVE
from paraformer_bench.analysis.verdict import Verdict
from paraformer_bench.study.case import SERIAL, mode_word
from paraformer_bench.study.run_folder import RunInfo
from paraformer_bench.study.words import factor

MOST_WORDS = 60
"""A sentence that needs more speaks of coarser groups of curves."""

_CLAIM = {
    "supported": "is constant with depth",
    "refuted": "is not constant with depth",
    "mixed": "is constant with depth for some curves only",
    "undecided": "is not settled yet",
}

_NO_FAULT = ("oom", "skipped")

# From the finest to the coarsest way of grouping curves; the first that is short enough is used.
_GROUPINGS: tuple[Callable[[Verdict, Collection[str]], str], ...] = (
    lambda verdict, _: _who(verdict),
    lambda verdict, _: f"{verdict.model} under {verdict.curve.method.execution}",
    lambda verdict, _: verdict.model,
    lambda verdict, controls: _kind(verdict.model, controls),
)


def controls_of(info: RunInfo) -> frozenset[str]:
    """Return the models of a run that the claim is not about: they are there to compare with.

    Args:
        info: Contents of ``run.json``; ``models`` says so of each. Without it only ``serial`` is.
    """
    return frozenset({SERIAL, *(name for name, facts in info.models.items() if facts.control)})


def sentences(verdicts: Sequence[Verdict], info: RunInfo) -> list[str]:
    """Say in one sentence for each device and mode what their curves do.

    A curve is judged by its device time where it has one, else by the wall clock; where wall
    clock and device time disagree, the sentence says for how many curves.

    Args:
        verdicts: Verdicts of one run.
        info: Contents of ``run.json``; ``environment.devices`` names the devices.
    """
    names = info.device_names
    controls = controls_of(info)
    groups: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in verdicts:
        regime = verdict.curve.regime
        groups.setdefault((regime.device, regime.mode), []).append(verdict)
    return [
        _sentence(group, device, names.get(device), mode_word(mode), controls)
        for (device, mode), group in groups.items()
    ]


def answer(verdicts: Sequence[Verdict], controls: Collection[str] = (SERIAL,)) -> str:
    """Answer the claim for the verdicts of one device.

    Only curves of models other than the ``controls`` count, each on its deciding basis and as far
    as it stands (`standing`).

    Returns:
        ``supported``: every such curve is constant at its deepest measured depth; ``refuted``:
        every one grows; ``undecided``: every one is inconclusive, or there is none; ``mixed``:
        anything else.
    """
    curves = deciding(verdicts)
    seen = {standing(verdict) for verdict in curves if verdict.model not in controls}
    if seen == {CONSTANT}:
        return "supported"
    if seen == {GROWS}:
        return "refuted"
    return "mixed" if seen - {INCONCLUSIVE} else "undecided"


def standing(verdict: Verdict) -> str:
    """Return the verdict as far as it answers the claim.

    A curve that is constant over the depths that have a time is open where others have none:
    nobody knows how long they take. Only what there is no memory for, or what cannot be run at
    all, takes nothing from it.
    """
    lost = any(missing.status not in _NO_FAULT for missing in verdict.missing)
    return INCONCLUSIVE if verdict.verdict == CONSTANT and lost else verdict.verdict


def deciding(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return one verdict a curve: that on device time where there is one, else on wall time."""
    chosen: dict[str, Verdict] = {}
    for verdict in verdicts:
        if verdict.curve_id not in chosen or verdict.basis == "device":
            chosen[verdict.curve_id] = verdict
    return list(chosen.values())


def more_blocks(verdicts: Sequence[Verdict]) -> tuple[int, str] | None:
    """Say how many blocks would settle the curves that are open; null where none is.

    Returns:
        Blocks in all that would settle every curve for which a number is known, and a sentence.
    """
    open_ = [verdict for verdict in deciding(verdicts) if verdict.verdict == INCONCLUSIVE]
    known = sorted(v.blocks_to_settle for v in open_ if v.blocks_to_settle is not None)
    if not known:
        return None
    number = "1 curve is" if len(open_) == 1 else f"{len(open_)} curves are"
    half = known[(len(known) - 1) // 2]
    needed = f"about {known[-1]} blocks in all would settle {_them(len(known), len(open_))}"
    if half < known[-1]:
        needed = f"about {half} blocks in all would settle half of them, {needed[6:]}"
    return known[-1], f"{number} not settled: {needed}"


def verdict_phrase(verdict: Verdict) -> str:
    """Say in one line what one curve does and how sure that is."""
    up_to = f"constant up to depth {verdict.constant_up_to}"
    worst = verdict.worst
    if verdict.verdict == CONSTANT and worst is not None:
        most = f"{factor(worst.ratio)} from depth {worst.shallow} to {worst.deep}"
        parts = [up_to, f"most growth {most}, at most {_bound(worst.high)}"]
    elif verdict.verdict == GROWS and worst is not None:
        bounds = f"({_bound(worst.low)} to {_bound(worst.high)})"
        span = f"from depth {worst.shallow} to {worst.deep}"
        parts = [f"grows {factor(worst.ratio)} {bounds} {span}", up_to]
    else:
        parts = [f"inconclusive ({up_to}): {verdict.reason}"]
        if verdict.blocks_to_settle is not None:
            parts.append(f"about {verdict.blocks_to_settle} blocks in all would settle it")
    if verdict.missing:
        parts.append(f"without {_lost(verdict)}")
    return "; ".join(parts)


def _them(some: int, every: int) -> str:
    if some < every:
        return f"{some} of them"
    return "it" if every == 1 else "all"


def _bound(ratio: float | None) -> str:
    return "unknown" if ratio is None else factor(ratio)


def _who(verdict: Verdict) -> str:
    method = verdict.curve.method
    return f"{method.model} under {method.execution}/{method.runtime}"


def _kind(model: str, controls: Collection[str]) -> str:
    if model == SERIAL:
        return "serial nets"
    return "other controls" if model in controls else "parallel nets"


def _sentence(
    verdicts: Sequence[Verdict],
    device: str,
    name: str | None,
    mode: str,
    controls: Collection[str],
) -> str:
    curves = deciding(verdicts)
    place = f"{device} ({name})" if name else device
    parallel = [standing(verdict) for verdict in curves if verdict.model not in controls]
    found = _CLAIM[answer(verdicts, controls)]
    if answer(verdicts, controls) == "mixed" and CONSTANT not in parallel:
        found = "grows with depth for some curves, the others are undecided"
    claim = f"{mode} time {found}"
    head = f"On {place}: {claim if parallel else 'no parallel net was timed'}"
    tail = _disagreement(verdicts, curves) + _without_flagged(verdicts, curves, controls)
    for grouping in _GROUPINGS:
        groups: dict[str, list[Verdict]] = {}
        for verdict in sorted(curves, key=lambda verdict: verdict.model in controls):
            groups.setdefault(grouping(verdict, controls), []).append(verdict)
        clauses = "; ".join(_clause(group, members) for group, members in groups.items())
        sentence = f"{head}: {clauses}{tail}."
        if len(sentence.split()) <= MOST_WORDS:
            break
    return sentence


def _clause(name: str, group: Sequence[Verdict]) -> str:
    """What one curve does, or how many of several do what."""
    if len(group) == 1:
        [curve] = group
        devices = curve.curve.method.devices
        on = f" on {devices} devices" if devices != 1 else ""
        return f"{_who(curve)}{on} {_alone(curve)}"
    parts: list[str] = []
    for kind, say in ((CONSTANT, _constant), (GROWS, _grow), (INCONCLUSIVE, _undecided)):
        some = [verdict for verdict in group if standing(verdict) == kind]
        if some:
            share = (
                f"{len(some)} of {len(group)}" if len(some) < len(group) else f"all {len(some)}"
            )
            share = str(len(some)) if parts else f"{share} curves of {name}"
            parts.append(f"{share} {say(some)}")
    return ", ".join(parts)


def _alone(verdict: Verdict) -> str:
    lost = f", without {_lost(verdict)}" if verdict.missing else ""
    if standing(verdict) == CONSTANT:
        return f"stays constant up to depth {verdict.constant_up_to}{lost}"
    if verdict.verdict == GROWS and verdict.worst is not None:
        rise = verdict.worst
        grows = f"grows {factor(rise.ratio)} from depth {rise.shallow} to {rise.deep}"
        return f"{grows} (constant up to {verdict.constant_up_to}){lost}"
    return f"is undecided (constant up to {verdict.constant_up_to}){lost}"


def _lost(verdict: Verdict) -> str:
    """Name the depths that have no time, and why."""
    return "depth " + ", ".join(f"{lost.depth} ({lost.status})" for lost in verdict.missing)


def _constant(verdicts: Sequence[Verdict]) -> str:
    depths = _range([verdict.constant_up_to for verdict in verdicts])
    return f"{'stay' if len(verdicts) > 1 else 'stays'} constant up to depth {depths}"


def _grow(verdicts: Sequence[Verdict]) -> str:
    rises = [verdict.worst for verdict in verdicts if verdict.worst is not None]
    low, high = (factor(end(rise.ratio for rise in rises)) for end in (min, max))
    verb = "grow" if len(verdicts) > 1 else "grows"
    span = low if low == high else f"{low} to {high}"
    return f"{verb} {span} by depth {_range([rise.deep for rise in rises])}"


def _undecided(verdicts: Sequence[Verdict]) -> str:
    return "are undecided" if len(verdicts) > 1 else "is undecided"


def _without_flagged(
    verdicts: Sequence[Verdict], curves: Sequence[Verdict], controls: Collection[str]
) -> str:
    """Say what would be said without the records whose times may be wrong, if it differs.

    Curves of which too little is left are taken as they are.
    """
    others = [
        replace(curve, verdict=curve.without_flagged.verdict)
        if curve.without_flagged and curve.without_flagged.verdict
        else curve
        for curve in curves
    ]
    found = answer(others, controls)
    if found == answer(verdicts, controls):
        return ""
    return f"; without flagged records it {_CLAIM[found]}"


def _range(depths: Sequence[int]) -> str:
    low, high = min(depths), max(depths)
    return str(low) if low == high else f"{low}-{high}"


def _disagreement(verdicts: Sequence[Verdict], curves: Sequence[Verdict]) -> str:
    wall = {verdict.curve_id: verdict.verdict for verdict in verdicts if verdict.basis == "wall"}
    other = sum(wall.get(curve.curve_id, curve.verdict) != curve.verdict for curve in curves)
    return f"; by wall clock {other} of {len(curves)} read otherwise" if other else ""
