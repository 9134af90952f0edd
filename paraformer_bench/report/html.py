"""Text with markup in it. This file and `figures.svg` alone make any: all else is escaped."""

from __future__ import annotations

from markupsafe import Markup

from paraformer_bench.analysis.curve import CONSTANT, GROWS, INCONCLUSIVE
from paraformer_bench.study.case import Curve
from paraformer_bench.study.words import count

UNMEASURED = "not measured"
SYMBOLS = {CONSTANT: "→", GROWS: "↗", INCONCLUSIVE: "?", UNMEASURED: "–"}
"""What stands before a verdict, so that colour is never alone."""


def rich(form: str, *values: object) -> Markup:
    """Return HTML of ours with values put where it says ``{}``: escaped, unless they are `Markup`.

    Args:
        form: Written in the code, never made of values.
        values: Whatever they are.
    """
    return Markup(form).format(*values)


def joined(separator: str, parts: list[Markup]) -> Markup:
    """Return HTML with text between its parts."""
    return Markup(separator).join(parts)


def prose(text: str, most: int = 240) -> Markup:
    """Return text of unknown origin and length: what is long can be unfolded."""
    if len(text) <= most:
        return rich("<bdi>{}</bdi>", text)
    return rich(
        '<details class="long"><summary><bdi>{}…</bdi> <span class="more">all {:,} characters'
        "</span></summary><bdi>{}</bdi></details>",
        text[: most // 2],
        len(text),
        text,
    )


def method(curve: Curve) -> Markup:
    """Return who is measured, as the head of a row."""
    who, depth = curve.method, curve.regime.branch_depth
    more = f", {who.devices} devices" if who.devices != 1 else ""
    more += f", branch depth {depth}" if depth != 1 else ""
    return rich(
        "<b><bdi>{}</bdi></b> <small><bdi>{}</bdi>, <bdi>{}</bdi>{}</small>",
        who.model,
        who.execution,
        who.runtime,
        more,
    )


def badge(words: str, symbol: str = "", tone: str = "") -> Markup:
    """Return a verdict with its mark; ``tone`` is the CSS class where the words are none."""
    return rich(
        '<span class="badge {}"><span aria-hidden="true">{}</span> {}</span>',
        tone or words.replace(" ", "-"),
        symbol or SYMBOLS[words],
        words,
    )


def bold(text: str) -> Markup:
    """Return a number that matters more than those beside it."""
    return rich("<b>{}</b>", text)


def code(text: str) -> Markup:
    """Return the name of something in files."""
    return rich("<code>{}</code>", text)


def be(number: int, noun: str, most: str = "") -> str:
    """Return ``1 curve is`` or ``3 curves are``."""
    return f"{count(number, noun)}{most} {'is' if number == 1 else 'are'}"
