"""The kernel timelines of a run: which traces lie in its folder, and what each one shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paraformer_bench.study.case import Case
from paraformer_bench.study.profiling import ENDING, TRACES, Profile
from paraformer_bench.study.run_folder import Run
from paraformer_bench.timeline.metrics import View, examine

_TYPES: dict[str, tuple[type, ...]] = {
    "file": (str,),
    "reason": (str,),
    "steps": (int,),
    "bytes": (int,),
    "seconds_per_call_profiled": (int, float),
    "seconds_per_call_unprofiled": (int, float),
}


@dataclass(frozen=True)
class Traced:
    """A timeline of the run.

    Attributes:
        case: Whose.
        file: Path of the trace below the run folder.
        bytes: Its size on the disk.
        profile: What the run says of it; None where it says nothing.
        view: What it shows.
    """

    case: Case
    file: str
    bytes: int
    profile: Profile | None
    view: View

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values: the numbers, and what they are of."""
        case = {"case": self.case.to_json(), "case_id": self.case.id, "file": self.file}
        return case | self.view.timeline.to_json()


@dataclass(frozen=True)
class Traces:
    """Everything that is known of a run's timelines.

    Attributes:
        traced: One a case, in the order of the records.
        others: Traces of cases without a record: paths below the run folder.
        missing: Cases that were to be profiled and have no trace here, with the reason.
    """

    traced: list[Traced]
    others: list[str]
    missing: list[tuple[Case, str]]


def read_traces(run: Run) -> Traces:
    """Read every trace in the folder of a run. A broken one is a timeline that says so."""
    cases = {record.case.id: record.case for record in run.records}
    profiles = _profiles(run.info)
    files: dict[str, list[str]] = {}
    for path in sorted(run.folder.glob(f"{TRACES}/*/*{ENDING}")):
        if not path.is_file():
            continue
        files.setdefault(path.parent.name, []).append(path.relative_to(run.folder).as_posix())
    traced, missing = [], []
    for case_id, case in cases.items():
        profile = profiles.get(case_id)
        found = files.pop(case_id, [])
        named = [file for file in found if profile and file == profile.file]
        if found:
            # The run names the last one that it took; names end in the time.
            file = (named or found)[-1]
            path = run.folder / file
            known = profile if named else None
            view = examine(path, on_gpu=case.device != "cpu")
            traced.append(Traced(case, file, path.stat().st_size, known, view))
        elif profile:
            missing.append((case, profile.reason or "its trace is not kept beside this page"))
    return Traces(traced, [file for held in files.values() for file in held], missing)


def _profiles(info: dict[str, Any]) -> dict[str, Profile]:
    """Return what ``run.json`` says of each case's profile; what makes no sense is left out."""
    listed = info.get("profiles")
    found = {}
    for case_id, entry in (listed if isinstance(listed, dict) else {}).items():
        if isinstance(entry, dict) and all(
            value is None or isinstance(value, _TYPES[name])
            for name, value in entry.items()
            if name in _TYPES
        ):
            found[str(case_id)] = Profile.from_json(entry)
    return found
