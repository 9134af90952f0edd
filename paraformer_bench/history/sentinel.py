"""What the sentinel says when most times move together: was it the machine, or the code?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from paraformer_bench.analysis.intervals import Array
from paraformer_bench.history.detect import Fit, Step
from paraformer_bench.history.scatter import Booleans


def anchored(fit: Fit, sentinel: int) -> Fit:
    """Turn each step of the sentinel into steps of all others.

    What most series have in common is taken for the machine. If that were the code, the sentinel,
    which never changes, would seem to step the other way. So where it does, most of the others
    are what changed, and by as much as it seems to have.

    Args:
        fit: Of a panel of times.
        sentinel: Row of the sentinel.
    """
    steps = [step for step in fit.steps if step.series != sentinel]
    values, levels, shift = fit.values.copy(), fit.levels.copy(), fit.shift.copy()
    seen = np.isfinite(values)
    for seeming in (step for step in fit.steps if step.series == sentinel):
        commit = seeming.commit
        values[:, commit:] -= seeming.change
        levels[:, commit:] -= seeming.change
        shift[commit:] += seeming.change
        own = {step.series: step for step in steps if step.commit == commit}
        steps = [step for step in steps if step.commit != commit]
        for series in range(len(values)):
            if series == sentinel or not seen[series, :commit].any():
                continue
            if not seen[series, commit:].any():
                continue
            first = commit + int(seen[series, commit:].argmax())
            step = own.get(series) or Step(series, first, 0.0, 0.0, 0.0, 0.0, 0.0)
            steps.append(
                replace(
                    step,
                    change=step.change - seeming.change,
                    low=step.low - seeming.high,
                    high=step.high - seeming.low,
                )
            )
    steps.sort(key=lambda step: (step.commit, step.series))
    steps = [_with_levels(step, levels[step.series], seen[step.series]) for step in steps]
    shift -= np.median(shift)
    return Fit(steps, values, fit.variances, shift, levels)


def _with_levels(step: Step, levels: Array, seen: Booleans) -> Step:
    before = levels[: step.commit][seen[: step.commit]][-1]
    return replace(step, before=float(before), after=float(levels[step.commit]))
