"""Values of the command line's options: read, or refused with what is allowed."""

from __future__ import annotations

import math
import re

import click

from paraformer_bench.study.case import LIMITS
from paraformer_bench.study.errors import UsageError

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def names(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str] | None:
    """Read a comma list of names."""
    if value is None:
        return None
    found = [name.strip() for name in value.split(",")]
    if not all(found):
        raise click.BadParameter(f"{value!r} is not a comma list of names", ctx, param)
    return found


def numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> list[int] | None:
    """Read a comma list of whole numbers within the limits of the axis."""
    if value is None:
        return None
    most = LIMITS[str(param.name)]
    parts = [part.strip() for part in value.split(",")]
    whole = all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts)
    if not whole or not all(1 <= int(part) <= most for part in parts):
        message = f"{value!r} is not a comma list of whole numbers from 1 to {most}"
        raise click.BadParameter(message, ctx, param)
    return [int(part) for part in parts]


def seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Read a time such as 90s, 8m or 1h; a bare number is seconds."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", value.strip(), re.ASCII)
    found = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0 < found < math.inf:  # digits enough make a float infinite
        raise click.BadParameter(f"{value!r} is not a time such as 90s, 8m or 1h", ctx, param)
    return found


def share(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """Read a share such as 5% or 0.05."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)(%?)", value.strip(), re.ASCII)
    found = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if not 0 <= found < 1:
        message = f"{value!r} is not a share from 0% to below 100%, such as 5% or 0.05"
        raise click.BadParameter(message, ctx, param)
    return found


def shard(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read which shard to do, and of how many, such as 2/5."""
    if value is None:
        return None
    from paraformer_bench.study.run_folder import MOST_SHARDS

    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", value.strip(), re.ASCII)
    number, of = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= of <= MOST_SHARDS:
        message = (
            f"{value!r} is not a shard such as 2/5: the second of five, {MOST_SHARDS} at most"
        )
        raise click.BadParameter(message, ctx, param)
    return number, of


def device_of(gpu: int | None, device: str | None) -> str | None:
    """Return the device that one of the two options names, or None."""
    if gpu is not None and device is not None:
        raise UsageError("give --gpu or --device, not both")
    return device if gpu is None else f"cuda:{gpu}"
