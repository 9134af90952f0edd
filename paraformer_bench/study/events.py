"""What child processes say, one line of JSON an event. The parent makes records of them.

A worker says what happens as it happens, so that nothing measured is lost when it dies.
``busy_seconds`` is time spent in warm-up or timed calls since the event before.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from paraformer_bench.study.calibration import Reading
from paraformer_bench.study.ceilings import Limits
from paraformer_bench.study.record import Count, Facts, Status
from paraformer_bench.study.survey import Survey
from paraformer_bench.study.timelines import Profile


class Event(Struct, tag_field="event", tag=str.lower, kw_only=True):
    """Anything that a child process says."""


class Ready(Event, kw_only=True):
    """The process is set up: what follows is measured."""


class Done(Event, kw_only=True):
    """The job is done to its end: nothing follows."""


class Sentinel(Event, kw_only=True):
    """The sentinel net was timed."""

    busy_seconds: float


class CaseEvent(Event, kw_only=True):
    """Something about one case.

    Attributes:
        case_id: Which one.
        machine: Where it happened, if not on the machine of the command.
    """

    case_id: str
    machine: dict[str, str] | None = None


class Begin(CaseEvent, kw_only=True):
    """A stage of a case begins (``prepare``, ``sample``, ``energy``, ``profile``): it may hang."""

    stage: str


class Prepared(CaseEvent, kw_only=True):
    """A case is built, checked and warm.

    Attributes:
        order: Position in the block, from 0.
        facts: What is known before timing.
        null_reasons: Why some fields of its record are null.
        busy_seconds: See above.
    """

    order: Count
    facts: Facts
    null_reasons: dict[str, str]
    busy_seconds: float


class Sampled(CaseEvent, kw_only=True):
    """One round of a case.

    Attributes:
        wall_seconds: Times of its calls by the host's clock.
        device_seconds: Of further calls by the device's; empty where it has none.
        dry: Device-timed calls for which the queue may have run empty.
        reading: What was read of device and host meanwhile.
        busy_seconds: See above.
    """

    wall_seconds: list[float]
    device_seconds: list[float]
    dry: int
    reading: dict[str, Any]
    busy_seconds: float


class Timed(CaseEvent, kw_only=True):
    """All rounds of a case are done; its energy window is to come.

    Attributes:
        flags: Names from `record.FLAGS`.
        sentinel_seconds: Times of the sentinel net around the rounds.
    """

    flags: list[str]
    sentinel_seconds: list[float]


class Energy(CaseEvent, kw_only=True):
    """The energy window of a case is over.

    Attributes:
        joules: Of one call; null where they could not be read.
        reason: Why not.
        window: Its ``seconds``, ``calls`` and mean ``watts``.
    """

    joules: float | None = None
    reason: str | None = None
    window: dict[str, float] | None = None


class Finished(CaseEvent, kw_only=True):
    """A case is over, well or not.

    Attributes:
        status: One of `record.STATUSES`.
        reason: Why it is not ``ok``.
        flags: Names from `record.FLAGS`.
        order: Position in the block, of a case that was never prepared.
        sentinel_seconds: As in `Timed`; null for a case that failed.
    """

    status: Status
    reason: str | None = None
    flags: list[str] = field(default_factory=list)
    order: Count | None = None
    sentinel_seconds: list[float] | None = None


class Profiled(CaseEvent, kw_only=True):
    """A case has a timeline, or a reason why not."""

    profile: Profile


class Measured(Event, kw_only=True):
    """The ceilings of the device were measured."""

    limits: Limits


class Calibrated(Event, kw_only=True):
    """Known delays were read."""

    readings: list[Reading]


class Surveyed(Event, kw_only=True):
    """What is registered and what is here."""

    survey: Survey


class Refused(Event, kw_only=True):
    """A plugin cannot be loaded, so nothing is done.

    Attributes:
        message: Why, one line for the user.
    """

    message: str


class Ended(Event, kw_only=True):
    """How a process ended that did not say `Done`. Said by whoever follows it, never by itself.

    Attributes:
        status: ``timeout`` if it had to be ended for its silence, else ``error``.
        reason: How, in a line.
    """

    status: Status
    reason: str


ANY = (
    Ready
    | Done
    | Sentinel
    | Begin
    | Prepared
    | Sampled
    | Timed
    | Energy
    | Finished
    | Profiled
    | Measured
    | Calibrated
    | Surveyed
    | Refused
    | Ended
)
"""Every kind of event, as readers of a pipe or a journal expect them."""
