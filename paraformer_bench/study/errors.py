"""The exceptions that cross module borders on purpose."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(Exception):
    """The user asked for something that cannot be done; the message is one line for them.

    The command line prints the message on stderr and exits with code 2.
    """


class Unsupported(Exception):
    """A case cannot run here for a good reason (no CUDA, no branches): status ``skipped``.

    Raised by models, executions and runtimes; the message is the record's ``reason``.
    """


class NoDevice(Exception):
    """Nothing is left to measure on; the run can be resumed when there is."""


_SHORT = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32", "fp64": "float64"}
"""What people call precisions, whose letters are nearer to another one's name."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Build the error for a name nobody registered, suggesting the nearest known one.

    Args:
        kind: What the name stands for, such as ``"model"`` or ``"key in [claim]"``.
        name: What the user wrote.
        known: Every name that would have been accepted.
    """
    choices = sorted(known)
    near = difflib.get_close_matches(_SHORT.get(name, name), choices, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UsageError(f"unknown {kind} {name!r}: {hint}known: {', '.join(choices) or 'none'}")
