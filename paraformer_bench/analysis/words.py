"""Verdicts in plain words: one sentence a device and mode."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from paraformer_bench.analysis.claim import Verdict
from paraformer_bench.analysis.curve import CONSTANT, GROWS, INCONCLUSIVE
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


def controls_of(info: RunInfo) -> frozenset[str]:
    """Return the models of a run that the claim is not about: they are there to compare with.

    ``models`` in ``run.json`` says so of each. Without it only ``serial`` is.
    """
    return frozenset({SERIAL, *(name for name, facts in info.models.items() if facts.control)})


def sentences(verdicts: Sequence[Verdict], info: RunInfo) -> list[str]:
    """Say in one sentence for each device and mode of a run what their curves do.

    A curve is judged by its device time where it has one, else by the wall clock; where wall
    clock and device time disagree, the sentence says for how many curves.
    """
    groups: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in verdicts:
        regime = verdict.curve.regime
        groups.setdefault((regime.device, regime.mode), []).append(verdict)
    places = {device: f"{device} ({name})" for device, name in info.device_names.items() if name}
    return [
        _sentence(group, places.get(device, device), mode_word(mode), controls_of(info))
        for (device, mode), group in groups.items()
    ]


def answer(verdicts: Sequence[Verdict], controls: Collection[str] = (SERIAL,)) -> str:
    """Answer the claim for the verdicts of one device.

    Only curves of models other than the ``controls`` count, each on its deciding basis and as far
    as it stands (`standing`). ``supported``: every such curve is constant at its deepest measured
    depth; ``refuted``: every one grows; ``undecided``: every one is inconclusive, or there is
    none; ``mixed``: anything else.
    """
    kinds = {standing(verdict) for verdict in deciding(verdicts) if verdict.model not in controls}
    if kinds == {CONSTANT}:
        return "supported"
    if kinds == {GROWS}:
        return "refuted"
    return "mixed" if kinds - {INCONCLUSIVE} else "undecided"


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
    """Return how many blocks in all would settle the open curves, and a sentence that says so.

    Curves of which no number is known are left out; null where none has one.
    """
    open_ = [verdict for verdict in deciding(verdicts) if verdict.verdict == INCONCLUSIVE]
    needs = sorted(v.blocks_to_settle for v in open_ if v.blocks_to_settle is not None)
    if not needs:
        return None
    curves = "1 curve is" if len(open_) == 1 else f"{len(open_)} curves are"
    which = "it" if len(open_) == 1 else "all"
    which = f"{len(needs)} of them" if len(needs) < len(open_) else which
    half = needs[(len(needs) - 1) // 2]
    first = f"{half} blocks in all would settle half of them, " if half < needs[-1] else ""
    most = f"{needs[-1]} blocks in all would settle {which}"
    return needs[-1], f"{curves} not settled: about {first}{most}"


def _groupings(verdict: Verdict, controls: Collection[str]) -> tuple[str, ...]:
    """Names of the group that a curve is in, from the finest to the coarsest."""
    model, method = verdict.model, verdict.curve.method
    kind = "other controls" if model in controls else "parallel nets"
    return (
        f"{model} under {method.execution}/{method.runtime}",
        f"{model} under {method.execution}",
        model,
        "serial nets" if model == SERIAL else kind,
    )


def _sentence(
    verdicts: Sequence[Verdict], place: str, mode: str, controls: Collection[str]
) -> str:
    curves = sorted(deciding(verdicts), key=lambda verdict: verdict.model in controls)
    parallel = [standing(verdict) for verdict in curves if verdict.model not in controls]
    reply = answer(curves, controls)
    claim = _CLAIM[reply]
    if reply == "mixed" and CONSTANT not in parallel:
        claim = "grows with depth for some curves, the others are undecided"
    said = f"{mode} time {claim}" if parallel else "no parallel net was timed"
    tail = ""
    wall = {verdict.curve_id: verdict.verdict for verdict in verdicts if verdict.basis == "wall"}
    others = sum(wall.get(curve.curve_id, curve.verdict) != curve.verdict for curve in curves)
    if others:
        tail = f"; by wall clock {others} of {len(curves)} read otherwise"
    unflagged = answer([_unflagged(curve) for curve in curves], controls)
    if unflagged != reply:
        tail += f"; without flagged records it {_CLAIM[unflagged]}"
    names = [_groupings(curve, controls) for curve in curves]
    for grouping in zip(*names, strict=True):  # the first that is short enough is used
        groups: dict[str, list[Verdict]] = {}
        for name, curve in zip(grouping, curves, strict=True):
            groups.setdefault(name, []).append(curve)
        clauses = "; ".join(_clause(group, members) for group, members in groups.items())
        sentence = f"On {place}: {said}: {clauses}{tail}."
        if len(sentence.split()) <= MOST_WORDS:
            break
    return sentence


def _unflagged(verdict: Verdict) -> Verdict:
    """The verdict without flagged records; where too little is left without them, as it is."""
    other = verdict.without_flagged
    return replace(verdict, verdict=other.verdict) if other and other.verdict else verdict


def _clause(name: str, group: Sequence[Verdict]) -> str:
    """What one curve does, or how many of several do what."""
    if len(group) == 1:
        return _alone(*group)
    parts: list[str] = []
    for kind in (CONSTANT, GROWS, INCONCLUSIVE):
        some = [verdict for verdict in group if standing(verdict) == kind]
        if some and parts:
            parts.append(f"{len(some)} {_does(kind, some)}")
        elif some:
            share = f"{len(some)} of" if len(some) < len(group) else "all"
            parts.append(f"{share} {len(group)} curves of {name} {_does(kind, some)}")
    return ", ".join(parts)


def _alone(verdict: Verdict) -> str:
    devices = verdict.curve.method.devices
    on = f" on {devices} devices" if devices != 1 else ""
    kind, rise = standing(verdict), verdict.worst
    does = _does(kind, [verdict])
    if kind == GROWS and rise:
        does = f"grows {factor(rise.ratio)} from depth {rise.shallow} to {rise.deep}"
    if kind != CONSTANT:
        does += f" (constant up to {verdict.constant_up_to})"
    lost = ", ".join(f"{missing.depth} ({missing.status})" for missing in verdict.missing)
    return f"{_groupings(verdict, ())[0]}{on} {does}{f', without depth {lost}' if lost else ''}"


def _does(kind: str, verdicts: Sequence[Verdict]) -> str:
    """What curves whose standing is ``kind`` do."""
    s = "" if len(verdicts) > 1 else "s"
    if kind == CONSTANT:
        return f"stay{s} constant up to depth {_range([v.constant_up_to for v in verdicts])}"
    if kind == INCONCLUSIVE:
        return "are undecided" if len(verdicts) > 1 else "is undecided"
    rises = [verdict.worst for verdict in verdicts if verdict.worst is not None]
    low, high = (factor(end(rise.ratio for rise in rises)) for end in (min, max))
    span = low if low == high else f"{low} to {high}"
    return f"grow{s} {span} by depth {_range([rise.deep for rise in rises])}"


def _range(depths: Sequence[int]) -> str:
    low, high = min(depths), max(depths)
    return str(low) if low == high else f"{low}-{high}"
