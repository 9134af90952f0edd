"""JSON in and out: everything that crosses a process boundary or a file goes through here.

What crosses is a `msgspec.Struct`; a `Case` in it is an object with its fields by name.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import UsageError

T = TypeVar("T")


class Malformed(Exception):
    """Data that is no JSON, or not of the type that was asked for; the message says where."""


def encode(value: Any) -> bytes:
    """Return a struct as a line of JSON without its newline; numbers not finite become null."""
    return msgspec.json.encode(value, enc_hook=_plain)


def plain(value: Any) -> Any:
    """Return a struct as JSON would give it back: mappings, lists, texts and numbers."""
    return msgspec.json.decode(encode(value))


def decode(data: bytes | str, kind: type[T]) -> T:
    """Read JSON as a value of ``kind``; fields that it does not have are ignored.

    Raises:
        Malformed: It is no JSON, or something in it is not of its type.
    """
    value: T = decoder(kind).decode(data)
    return value


def convert(value: Any, kind: Any) -> Any:
    """Return plain data as a value of ``kind``; see `decode`.

    Raises:
        Malformed: Something in it is not of its type.
    """
    try:
        return msgspec.convert(value, kind, dec_hook=_built)
    except (
        msgspec.ValidationError,
        UsageError,
        RecursionError,
        OverflowError,
        UnicodeEncodeError,
    ) as error:
        raise Malformed(str(error)) from None


class decoder:  # noqa: N801 (used like the function it is)
    """Reads many pieces of JSON of one type.

    Args:
        kind: A struct, or a union of tagged ones.
    """

    def __init__(self, kind: Any) -> None:
        self._decoder = msgspec.json.Decoder(kind, dec_hook=_built)

    def decode(self, data: bytes | str) -> Any:
        """Read one; see `wire.decode`."""
        try:
            return self._decoder.decode(data)
        except (msgspec.MsgspecError, UsageError, UnicodeDecodeError, RecursionError) as error:
            raise Malformed(str(error)) from None


def _plain(value: Any) -> Any:
    if isinstance(value, Case):
        return value.flat()
    raise TypeError(f"{type(value).__name__} has no JSON")


def _built(kind: type, value: Any) -> Any:
    if kind is not Case:
        raise TypeError(f"{kind.__name__} cannot be read from JSON")
    if not isinstance(value, dict):
        raise UsageError("a case must be an object")
    try:
        return Case.of(**value).check(known=False)
    except (TypeError, KeyError) as error:
        raise UsageError(f"a case lacks something: {error}") from None
