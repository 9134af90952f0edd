"""Values of the command line's options: read, or refused with what is allowed."""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from typing import Any

import click

from paraformer_bench.study.case import LIMITS
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import MOST_SHARDS

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


class _Value(click.ParamType):  # type: ignore[type-arg]  # not in click 8.1
    """What an option holds, and how people write it.

    Attributes:
        name: What it is, in words.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text of an option; what is no text has been read before."""
        read = self.read(value) if isinstance(value, str) else value
        return self.fail(f"{value!r} is not {self.name}", param, ctx) if read is None else read

    @abstractmethod
    def read(self, text: str) -> Any:
        """Return the value, or None if the text is none."""


class Names(_Value):
    """A comma list of names."""

    name = "a comma list of names"

    def read(self, text: str) -> list[str] | None:
        """Return the names."""
        names = [name.strip() for name in text.split(",")]
        return names if all(names) else None


class Numbers(_Value):
    """A comma list of whole numbers within the limits of an axis."""

    def __init__(self, axis: str) -> None:
        self._most = LIMITS[axis]
        self.name = f"a comma list of whole numbers from 1 to {self._most}"

    def read(self, text: str) -> list[int] | None:
        """Return the numbers."""
        parts = [part.strip() for part in text.split(",")]
        if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
            return None
        numbers = [int(part) for part in parts]
        return numbers if all(1 <= number <= self._most for number in numbers) else None


class Duration(_Value):
    """Seconds, written as 90s, 8m or 1h; a bare number is seconds."""

    name = "a time such as 90s, 8m or 1h"

    def read(self, text: str) -> float | None:
        """Return seconds."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip(), re.ASCII)
        seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
        return seconds if 0 < seconds < math.inf else None  # digits enough make a float infinite


class Share(_Value):
    """A share below 1, written as 5% or 0.05."""

    name = "a share from 0% to below 100%, such as 5% or 0.05"

    def read(self, text: str) -> float | None:
        """Return the share."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)(%?)", text.strip(), re.ASCII)
        share = float(match[1]) / (100 if match[2] else 1) if match else -1.0
        return share if 0 <= share < 1 else None


class ShardOf(_Value):
    """Which shard to do, and of how many, written as 2/5."""

    name = f"a shard such as 2/5: the second of five, {MOST_SHARDS} at most"

    def read(self, text: str) -> tuple[int, int] | None:
        """Return the two numbers."""
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip(), re.ASCII)
        number, of = (int(match[1]), int(match[2])) if match else (0, 0)
        return (number, of) if 1 <= number <= of <= MOST_SHARDS else None


def device_of(gpu: int | None, device: str | None) -> str | None:
    """Return the device that one of the two options names, or None."""
    if gpu is not None and device is not None:
        raise UsageError("give --gpu or --device, not both")
    return device if gpu is None else f"cuda:{gpu}"
