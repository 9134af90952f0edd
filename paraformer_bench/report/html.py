"""Text with markup in it. This file and `figures.svg` alone make any: all else is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from paraformer_bench.analysis.curve import CONSTANT, GROWS, INCONCLUSIVE
from paraformer_bench.study.case import Curve
from paraformer_bench.study.words import count

UNMEASURED = "not measured"
SYMBOLS = {CONSTANT: "→", GROWS: "↗", INCONCLUSIVE: "?", UNMEASURED: "–"}
"""What stands before a verdict, so that colour is never alone."""

Facts = list[tuple[str, str]]
"""Names and values, as text."""

Swatches = Sequence[tuple[int | None, str, Markup]]
"""A legend: the number of a line of the page (None for what is none), a label and a drawing."""


def rich(form: str, *values: object) -> Markup:
    """Return HTML of ours with values put where it says ``{}``: escaped, unless they are `Markup`.

    ``form`` is written in the code, never made of values.
    """
    return Markup(form).format(*values)


def plain(words: str) -> str:
    """Return what a reader sees of HTML, which is not HTML any more."""
    return Markup(words).striptags()


def joined(separator: str, parts: Iterable[Markup]) -> Markup:
    """Return HTML with other HTML between its parts."""
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
    form = "<b><bdi>{}</bdi></b> <small><bdi>{}</bdi>, <bdi>{}</bdi>{}</small>"
    return rich(form, who.model, who.execution, who.runtime, more)


def badge(words: str, symbol: str = "", tone: str = "") -> Markup:
    """Return a verdict with its mark; ``tone`` is the CSS class where the words are none."""
    form = '<span class="badge {}"><span aria-hidden="true">{}</span> {}</span>'
    return rich(form, tone or words.replace(" ", "-"), symbol or SYMBOLS[words], words)


def be(number: int, noun: str, clause: str = "") -> str:
    """Return ``1 curve is`` or ``3 curves are``."""
    return f"{count(number, noun)}{clause} {'is' if number == 1 else 'are'}"


def text(words: str, look: str = "text") -> Markup:
    """Return a paragraph of this CSS class."""
    tag = "div" if isinstance(words, Markup) and "<details" in words else "p"  # no fold in a p
    return rich(f'<{tag} class="{{}}">{{}}</{tag}>', look, words)


def heading(words: str) -> Markup:
    """Return a heading within a section."""
    return rich("<h3>{}</h3>", words)


def listing(lines: str) -> Markup:
    """Return lines to be copied."""
    return rich("<pre><code>{}</code></pre>", lines)


def bullets(items: Iterable[str]) -> Markup:
    """Return a list of texts of unknown origin."""
    return rich("<ul>{}</ul>", joined("", [rich("<li>{}</li>\n", prose(item)) for item in items]))


def pairs(facts: Facts) -> Markup:
    """Return names and values as a table."""
    row = '<tr><th scope="row"><bdi>{}</bdi></th><td>{}</td></tr>\n'
    rows = [rich(row, name, prose(value)) for name, value in facts]
    return rich('<table class="pairs">\n{}</table>', joined("", rows))


def sheets(titled: Mapping[str, Facts]) -> Markup:
    """Return names and values as tables side by side, each under its title."""
    each = [rich("<div>{}{}</div>\n", heading(prose(t)), pairs(f)) for t, f in titled.items()]
    return rich('<div class="sheets">\n{}</div>', joined("", each))


def legend(swatches: Swatches) -> Markup:
    """Return swatches and what they stand for."""
    items = []
    for number, label, swatch in swatches:
        line = rich("" if number is None else ' data-line="{}"', number)
        items.append(rich("<li{}>{} <bdi>{}</bdi></li>\n", line, swatch, label))
    return rich('<ul class="legend">\n{}</ul>', joined("", items))


def drawing(svg: Markup, label: str, caption: str = "") -> Markup:
    """Return a figure that is as wide as the page; on a narrow one it scrolls."""
    over = rich("<figcaption><bdi>{}</bdi></figcaption>", caption) if caption else ""
    region = '<div class="scroll wide" role="region" aria-label="{}" tabindex="0">\n{}\n</div>'
    return rich(region, label, rich("<figure>{}{}</figure>", over, svg))
