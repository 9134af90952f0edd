"""Checks on values that people write: each returns the value or raises a one-line UsageError."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from paraformer_bench.study.errors import UsageError, unknown_name


def whole(value: object, what: str, low: int, high: int) -> int:
    """Return ``value`` if it is a whole number in [low, high]; bools and text are refused."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{what} must be a whole number from {low} to {high}, not {value!r}")
    return value


def number(value: object, what: str, low: float, high: float) -> float:
    """Return ``value`` as a float strictly between ``low`` and ``high``; NaN is refused."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UsageError(f"{what} must be a number, not {value!r}")
    if not low < value < high:  # NaN neither; whole numbers may be too large for `math`
        raise UsageError(f"{what} must be above {low:g} and below {high:g}, not {value}")
    return float(value)


def choice(value: object, what: str, known: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``known``, else suggest the nearest."""
    if not isinstance(value, str):
        raise UsageError(f"{what} must be text, not {value!r}")
    known = tuple(known)
    if value not in known:
        raise unknown_name(what, value, known)
    return value


def keys(table: Mapping[str, object], what: str, known: Iterable[str]) -> None:
    """Refuse any key of ``table`` that is not ``known``, naming the nearest known one."""
    known = tuple(known)
    for key in table:
        if key not in known:
            raise unknown_name(f"key in {what}", key, known)
