"""The parent's side of the ceilings: measured when there are none, kept, and noted in the run."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from rich.console import Console

from paraformer_bench import __version__
from paraformer_bench.study.calibration import place_of
from paraformer_bench.study.ceilings import Ceilings, CeilingsJob
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.machine_file import CEILINGS
from paraformer_bench.study.record import FLAGS
from paraformer_bench.study.run_folder import now
from paraformer_bench.study.survey import Survey
from paraformer_bench.sweep.store import Store
from paraformer_bench.sweep.study import Study
from paraformer_bench.workers.ask import Start, ask
from paraformer_bench.workers.local import LocalWorker


def probe(
    survey: Survey, device: str, dtypes: Iterable[str], start: Start = LocalWorker
) -> Ceilings:
    """Measure the ceilings of ``device`` in a fresh process.

    Raises:
        UsageError: The process died or hung, or could not measure anything.
    """
    what = f"measure the ceilings of {device}"
    asked = tuple(dtypes)
    events = ask(CeilingsJob(device, asked), "workers.ceilings", what, start)
    host, _, name, torch = place_of(survey, device)
    data: dict[str, Any] = {
        "date": now(),
        "host": host,
        "device": device,
        "device_name": name,
        "torch": torch,
        "package": __version__,
        "products": [],
    }
    for event in events:
        fields = dict(event["fields"])
        data["products"] += fields.pop("products", [])
        data |= fields
    measured = {product["dtype"] for product in data["products"]}
    data["missing"] = [dtype for dtype in asked if dtype not in measured]
    try:
        return Ceilings.from_json(data)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"cannot {what}: {error}") from None


def words_of(ceilings: Ceilings) -> str:
    """Say what disturbed the measurement of ceilings."""
    seen = "; ".join(FLAGS.get(flag, flag) for flag in ceilings.flags)
    return f"the ceilings are not to be trusted and will be measured again next time: {seen}"


def needed(study: Study) -> bool:
    """Whether a sweep has to measure the ceilings before its first block."""
    if not study.plan.visited or (study.resumed or {}).get("ceilings"):
        return False
    kept = study.ceilings
    moment = datetime.now(timezone.utc)
    return kept is None or not kept.fresh(_dtypes(study), moment)


def note_ceilings(
    study: Study, store: Store, console: Console, start: Start = LocalWorker
) -> None:
    """See to it that the run knows the ceilings of its device; a sweep goes on without them.

    Ceilings that are kept are taken if they are fresh and have every precision of the sweep.
    """
    if not needed(study) or _complete(study, store):
        if study.ceilings is not None and not store.info.get("ceilings"):
            store.update(ceilings=study.ceilings.to_json(), ceilings_reason=None)
        return
    device = study.plan.device
    console.print(f"measuring the ceilings of {device}: a few seconds, once a week")
    # What was measured of other precisions would be lost with the entry that is replaced.
    before = study.ceilings.dtypes if study.ceilings else ()
    try:
        found = probe(study.survey, device, sorted({*_dtypes(study), *before}), start)
    except UsageError as error:
        console.print(f"warning: {error}")
        store.update(ceilings=None, ceilings_reason=str(error))
        return
    if found.flags:
        console.print(f"warning: {words_of(found)}")
    for warning in CEILINGS.keep(found):
        console.print(f"warning: {warning}")
    store.update(ceilings=found.to_json(), ceilings_reason=None)


def _complete(study: Study, store: Store) -> bool:
    """Whether every case has its records: nothing will be measured."""
    return all(
        (case.id, block) in store.done
        for block in range(study.plan.blocks)
        for case in study.plan.measured_in(block)
    )


def _dtypes(study: Study) -> set[str]:
    return {case.dtype for case in study.plan.cases}
