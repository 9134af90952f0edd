"""The latency model of every curve of a run: an entry of ``predictions.json`` each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from paraformer_bench.analysis.latency_model import Demand, Model, demand, fit
from paraformer_bench.analysis.medians import log_median
from paraformer_bench.analysis.roofline import Roofline, limits_of, work_of
from paraformer_bench.analysis.verdict import Verdict
from paraformer_bench.study.case import Curve
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import Run


@dataclass(frozen=True)
class Prediction:
    """What the latency model says of one curve on one basis.

    Attributes:
        verdict: What was measured.
        model: Null where it cannot be fitted.
        reason: Why it cannot; empty otherwise.
    """

    verdict: Verdict
    model: Model | None
    reason: str = ""

    def flat(self) -> dict[str, Any]:
        """Return the entry: seconds, and errors as shares of what was measured."""
        entry: dict[str, Any] = {
            "curve_id": self.verdict.curve_id,
            "basis": self.verdict.basis,
            "reason": self.reason or None,
        }
        if self.model is None:
            return entry
        steps = [
            {
                "depth": step.depth,
                "fitted": step.fitted,
                "predicted_seconds": step.seconds,
                "measured_seconds": step.measured,
                "error": step.error,
                "terms_seconds": step.terms,
                "limit": step.limit,
            }
            for step in self.model.steps
        ]
        return entry | {
            "scales": asdict(self.model.scales),
            "constant_up_to": self.model.constant_up_to,
            "measured_constant_up_to": self.verdict.constant_up_to,
            "unseen_error": self.model.error,
            "seconds_a_branch": self.model.seconds_a_branch,
            "steps": steps,
        }


def predict(run: Run, verdicts: Sequence[Verdict]) -> list[Prediction]:
    """Fit the model to every curve that was judged, in the order of the verdicts."""
    limits, reason = limits_of(run.info)
    curves: dict[Curve, list[Record]] = {}
    for record in run.records:
        if record.status == "ok":
            curves.setdefault(record.case.curve, []).append(record)
    found = []
    for verdict in verdicts:
        dtype = verdict.curve.regime.dtype
        if dtype in limits:
            found.append(_predict(verdict, curves[verdict.curve], limits[dtype]))
        else:
            none = f"no ceiling was measured in {dtype}"
            found.append(Prediction(verdict, None, reason or none))
    return found


def unseen_error(predictions: Sequence[Prediction]) -> float | None:
    """Median absolute error over all unseen depths of all curves; null if there are none."""
    errors = [
        abs(step.error)
        for prediction in predictions
        if prediction.model
        for step in prediction.model.unseen
        if step.error is not None
    ]
    return median(errors) if errors else None


def _predict(verdict: Verdict, records: Sequence[Record], limits: Roofline) -> Prediction:
    logs: dict[int, list[float]] = {}
    demands: dict[int, Demand] = {}
    for record in records:
        depth = record.case.depth
        seconds = log_median(record, verdict.basis)
        if math.isnan(seconds):
            continue
        logs.setdefault(depth, []).append(seconds)
        work = work_of(record) if depth not in demands else None
        if work is not None:
            size = record.parameter_bytes or 0
            demands[depth] = demand(record.case, verdict.basis, work, size, limits)
    if not demands:
        return Prediction(verdict, None, "its operations were not counted")
    measured: Mapping[int, float] = {depth: math.exp(fmean(held)) for depth, held in logs.items()}
    model = fit(demands, measured, verdict.margin)
    if model is None:
        return Prediction(verdict, None, "fewer than two shallow depths to fit it to")
    return Prediction(verdict, model)
