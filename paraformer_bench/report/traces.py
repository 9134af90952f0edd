"""The kernel timelines of a run: which traces lie in its folder, and what each one shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from paraformer_bench.study.case import Case
from paraformer_bench.study.run_folder import Run
from paraformer_bench.study.timelines import ENDING, TRACES, Profile
from paraformer_bench.timeline.metrics import View, examine
from paraformer_bench.timeline.timeline import INCOMPLETE


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

    @property
    def partly_unseen(self) -> bool:
        """Whether the loops that a compiler made for a CPU are among its operations."""
        return self.case.runtime == "compile" and self.case.device == "cpu"

    def flat(self) -> dict[str, Any]:
        """Return the entry of ``timelines.json``: the numbers, and what they are of."""
        case = {"case": self.case.flat(), "case_id": self.case.id, "file": self.file}
        return case | self.view.timeline.to_json()


@dataclass(frozen=True)
class Traces:
    """Everything that is known of a run's timelines.

    Attributes:
        traced: One a case, in the order of the records.
        others: Traces of cases without a record: paths below the run folder.
        missing: Cases that were to be profiled and have no trace here, with the reason.
    """

    traced: list[Traced] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    missing: list[tuple[Case, str]] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Return the kernels (on a CPU: operations) of each whole timeline, by case id."""
        counts = {}
        for traced in self.traced:
            timeline = traced.view.timeline
            number = timeline.kernels if timeline.on_gpu else timeline.operations
            if timeline.kind != INCOMPLETE and number and not traced.partly_unseen:
                counts[traced.case.id] = number
        return counts


def read_traces(run: Run) -> Traces:
    """Read every trace in the folder of a run. A broken one is a timeline that says so."""
    cases = {record.case.id: record.case for record in run.records}
    profiles = run.info.profiles or {}
    files: dict[str, list[str]] = {}
    for path in sorted(run.folder.glob(f"{TRACES}/*/*{ENDING}")):
        if path.is_file():
            files.setdefault(path.parent.name, []).append(path.relative_to(run.folder).as_posix())
    traced, missing = [], []
    for case_id, case in cases.items():
        profile = profiles.get(case_id)
        of_case = files.pop(case_id, [])
        named = [file for file in of_case if profile and file == profile.file]
        if of_case:
            # The run names the last one that it took; names end in the time.
            file = (named or of_case)[-1]
            path = run.folder / file
            view = examine(path, on_gpu=case.device != "cpu")
            told = profile if named else None
            traced.append(Traced(case, file, path.stat().st_size, told, view))
        elif profile:
            missing.append((case, profile.reason or "its trace is not kept beside this page"))
    return Traces(traced, [file for held in files.values() for file in held], missing)
