"""A sweep that goes on with a merged run: one more part of it, beside its shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paraformer_bench.clusters.coverage import missing_shards
from paraformer_bench.clusters.part import Part
from paraformer_bench.clusters.together import efficiency, together
from paraformer_bench.study.run_folder import now
from paraformer_bench.sweep.store import Store
from paraformer_bench.sweep.study import Settings, Study


@dataclass(frozen=True)
class Sitting:
    """One sweep that goes on with a merged run.

    Attributes:
        study: What is done.
        store: The open run folder.
        before: ``run.json`` as it was.
        records: How many there were.
        part: What the run keeps of the sitting.
    """

    study: Study
    store: Store
    before: Mapping[str, Any]
    records: int
    part: dict[str, Any]

    @classmethod
    def begin(cls, study: Study, settings: Settings, store: Store) -> Sitting:
        """Note the sitting before anything is measured: it may be killed."""
        calibration = study.calibration
        part = {
            "name": study.folder.name,
            "shard": None,
            "blocks": study.suite.protocol.blocks,
            "started": now(),
            "finished": None,
            "command": list(settings.command),
            "environment": study.survey.environment,
            "versions": study.survey.versions,
            "calibration": calibration.to_json() if calibration else None,
            "ceilings": None,
            "ceilings_reason": None,
            "efficiency": None,
        }
        before = study.resumed or {}
        parts = [*before["parts"], part]
        time = {"efficiency": store.info.get("efficiency")}  # it is being added to
        store.update(parts=parts, **(together(parts) | time))
        return cls(study, store, before, len(store.done), part)

    def end(self, interrupted: bool) -> None:
        """Note how far the run is now; the sitting is a part of it if it has left records."""
        plan, info, before = self.study.plan, self.store.info, self.before
        measured = len(self.store.done) > self.records
        parts = [*before["parts"], self.part] if measured else before["parts"]
        missing = missing_shards(
            [Part.from_json(part) for part in parts],
            self.study.suite.protocol.blocks,
            [*plan.cases, *plan.skipped],
            self.store.done,
            continued=not interrupted,
        )
        finished = None if interrupted or missing else now()
        if measured:
            if not before.get("ceilings"):
                self.part["ceilings"] = info["ceilings"]
                self.part["ceilings_reason"] = info["ceilings_reason"]
            self.part["efficiency"] = self._efficiency()
            self.part["finished"] = finished
            changes = together(parts)
        else:
            kept = ("environment", "versions", "calibration", "efficiency")
            changes = {name: before.get(name) for name in kept}
            finished = finished and (before.get("finished") or finished)
        self.store.update(parts=parts, missing=missing, finished=finished, **changes)

    def _efficiency(self) -> dict[str, float | None]:
        """Return the time of this sitting alone."""
        earlier = self.before.get("efficiency") or {"wall_seconds": 0.0, "busy_seconds": 0.0}
        wall, busy = (
            round(self.store.info["efficiency"][name] - earlier[name], 3)
            for name in ("wall_seconds", "busy_seconds")
        )
        return efficiency(wall, busy)
