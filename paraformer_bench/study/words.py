"""Numbers and times as people read them, once for all rooms. Seconds and bytes in, text out."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import datetime

MS = 1e3
"""Milliseconds in a second."""
MIB = 1 / 2**20
"""Mebibytes in a byte."""
NONE = "–"
"""What stands where there is no number."""
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def printable(text: str) -> str:
    """Return ``text`` with a replacement character for each that XML and UTF-8 cannot hold."""
    return _UNPRINTABLE.sub("\ufffd", text)


def short(value: float | None) -> str:
    """Return ``value`` with three significant digits, never in scientific notation below 1e15."""
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    if abs(value) >= 1e15 or digits > 12:
        return f"{value:.2e}"
    return f"{round(value, digits):,.{max(digits, 0)}f}"


def times(ratio: float | None) -> str:
    """Return a ratio for a table, as ``1.03×``."""
    return NONE if ratio is None else f"{short(ratio)}×"


def factor(ratio: float) -> str:
    """Return a ratio for a sentence, which any terminal can show, as ``9.8x``."""
    return f"{ratio:.3g}x" if ratio < 999.5 else f"{ratio:.0f}x"


def span(low: float | None, high: float | None) -> str:
    """Return an interval as ``1.01 to 1.05``, or nothing where there is none."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    return f"{short(low)} to {short(high)}"


def power(value: float) -> str:
    """Return an exponent with two decimals, and no minus before zero."""
    return f"{round(value, 2) + 0.0:.2f}"


def percent(share: float) -> str:
    """Return a share as ``10%`` or ``99.9%``."""
    return f"{share * 100:.4g}%"


def upper_first(text: str) -> str:
    """Return a clause as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def time(seconds: float) -> str:
    """Return the time of a call as ``31.2 µs``, ``4.5 ms`` or ``1.2 s``."""
    if seconds < 1e-3:
        return f"{short(seconds * 1e6)} µs"
    return f"{short(seconds * MS)} ms" if seconds < 1 else f"{short(seconds)} s"


def size(number: int) -> str:
    """Return bytes of a file as ``812 B``, ``38.9 kB`` or ``1.20 MB``."""
    if number < 1000:
        return f"{number} B"
    if number < 1_000_000:
        return f"{short(number / 1e3)} kB"
    return f"{short(number / 1e6)} MB"


def duration(seconds: float) -> str:
    """Return a stretch of time such as ``8 min 12 s``, in its two largest units."""
    if seconds < 60:
        return f"{short(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def moment(text: str) -> str:
    """Return an ISO time as ``2025-11-23 20:13 UTC``; text that is no time stays as it is."""
    try:
        when = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return text
    return f"{when:%Y-%m-%d %H:%M} {when.tzname() or ''}".rstrip()


def count(number: int, noun: str, plural: str = "") -> str:
    """Return ``1 block`` or ``3 blocks``; ``plural`` is for nouns that need more than an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def depth_list(depths: Iterable[int]) -> str:
    """Return depths as ``1, 2, 4``; many of them as ``1, 2, 4 … 64 (9 depths)``."""
    ordered = sorted(set(depths))
    if len(ordered) <= 8:
        return ", ".join(map(str, ordered))
    first = ", ".join(map(str, ordered[:3]))
    return f"{first} … {ordered[-1]} ({len(ordered)} depths)"
