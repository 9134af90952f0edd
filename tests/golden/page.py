"""What a reader of a page sees, as plain texts: independent of its markup.

A page becomes a list of sections, one for each heading of the first two levels: its texts in the
order of the page, and its figures. A row of a table is one text, its cells parted by bars; so is
a paragraph, an item of a list, a link of the navigation, and all words of a figure's drawing.
Explanations that show when the pointer rests (``title``) stand in square brackets.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote_to_bytes

Section = dict[str, Any]

_BLOCKS = {
    *("article", "caption", "dd", "details", "div", "dl", "dt", "figcaption", "figure", "form"),
    *("h1", "h2", "h3", "h4", "header", "li", "main", "nav", "ol", "p", "pre", "section"),
    *("summary", "table", "tbody", "thead", "title", "tr", "ul"),
}
_UNSEEN = {"script", "style", "footer"}
"""The footer tells the package's version alone."""
_COORDINATES = {
    *("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height"),
    *("d", "points", "transform"),
}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sections: list[Section] = [_new_section()]
        self._words: list[str] = []
        self._in_row = False
        self._in_nav = False
        self._unseen = 0
        self._figures = 0
        self._coordinates: list[float] | None = None
        self._labels: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag in _UNSEEN:
            self._unseen += 1
        elif self._coordinates is not None:
            for name in sorted(_COORDINATES & attributes.keys()):
                self._coordinates += map(float, _NUMBER.findall(attributes[name]))
        elif tag == "svg":
            self._coordinates, self._labels = [], []
        else:
            self._open(tag, attributes)

    def _open(self, tag: str, attributes: dict[str, str]) -> None:
        self._in_nav |= tag == "nav"
        if tag == "tr" or (self._is_block(tag) and not self._in_row):
            self._flush()
        if tag in ("h1", "h2"):
            self.sections.append(_new_section())
        self._figures += tag == "figure"
        self._in_row |= tag == "tr"
        if self._in_row:
            self._words.append("|" if tag in ("td", "th") else " ")
        if attributes.get("title"):
            self._words.append(f" [{attributes['title']}] ")
        if attributes.get("href", "").startswith("data:text/csv"):
            self.sections[-1]["csv"] = _columns(attributes["href"])

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen -= 1
        elif tag == "svg":
            self._end_drawing()
        elif self._coordinates is None:
            self._close(tag)

    def _close(self, tag: str) -> None:
        if tag == "tr" or (self._is_block(tag) and not self._in_row):
            self._flush()
        self._in_nav &= tag != "nav"
        self._figures -= tag == "figure"
        self._in_row &= tag != "tr"

    def _is_block(self, tag: str) -> bool:
        """Whether an element stands apart from the words around it, as links in lists do."""
        return tag in _BLOCKS or (tag == "a" and self._in_nav)

    def _end_drawing(self) -> None:
        if self._figures:  # others are swatches of legends, which are style
            words = " · ".join(filter(None, map(_plain, self._labels)))
            places = self._coordinates or []
            sums = sum(places), sum(place**2 for place in places)
            section = self.sections[-1]
            section["texts"].append(f"drawing: {words}")
            section["drawings"].append([words[:60], len(places), *(round(s, 1) for s in sums)])
        self._coordinates = None

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            (self._words if self._coordinates is None else self._labels).append(data)

    def _flush(self) -> None:
        text = _plain("".join(self._words))
        if text.strip("|"):
            self.sections[-1]["texts"].append(text.removeprefix("|"))
        self._words = []


def sections_of(html: str) -> list[Section]:
    """Return what a page says, without what may change from commit to commit.

    Each section has ``texts``, of which the first is its heading; ``drawings``: of each its first
    words, how many coordinates it has, their sum and the sum of their squares; and ``csv``: of the
    table of cases a digest a column.
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    for section in reader.sections:
        section["texts"] = [text for text in map(_lasting, section["texts"]) if text]
        if section["texts"][:1] == ["What would change it"]:
            section["texts"] = _without_faster_device(section["texts"])
    return reader.sections


def _new_section() -> Section:
    return {"texts": [], "drawings": [], "csv": {}}


def _plain(text: str) -> str:
    return re.sub(r" ?\| ?", "|", " ".join(text.split()))


def _columns(link: str) -> dict[str, str]:
    head, data = link.split(",", 1)
    raw = base64.b64decode(data) if head.endswith(";base64") else unquote_to_bytes(data)
    names, *rows = csv.reader(io.StringIO(raw.decode("utf-8")))
    columns = zip(names, zip(*rows, strict=True), strict=True)
    return {name: hashlib.sha256("\n".join(c).encode()).hexdigest()[:12] for name, c in columns}


def _lasting(text: str) -> str:
    """Return a text without sizes and digests of written files and without the version."""
    row = re.match(r"((?:verdicts|predictions|timelines)\.json)\|[^|]*\|(.*)\|[0-9a-f]{64}$", text)
    if row:
        return "|".join(row.groups())
    if text.startswith("cases.parquet|"):  # written where pyarrow is installed
        return ""
    return re.sub(r"paraformer_bench \d+\.\d+\S*: run", "paraformer_bench VERSION: run", text)


def _without_faster_device(texts: list[str]) -> list[str]:
    """Return the outlook without its part on a device twice as fast, which is gone.

    It was the last column of every table, and two clauses. A curve that is constant to depth 1
    alone at every batch had a row if it was not so on that device; now it is counted with the
    others that have none.
    """
    kept: list[str] = []
    table: list[str] = []  # caption, head and rows of the present one
    width = 0
    grow_at_once = 0
    for text in [*texts, ""]:
        cells = text.split("|")
        if len(cells) == 1:
            kept += table if len(table) > 2 else ()
            table = []
            kept.append(text)
        elif cells[0] == "method":
            width = len(cells) - (cells[-1] == "twice as fast")
            table = [kept.pop(), "|".join(cells[:width])]
        elif all(cell.split()[0] == "1" for cell in cells[1:width] if cell):
            grow_at_once += 1
        else:
            table.append("|".join(cells[:width]))
    faster = "a device whose arithmetic and memory are twice as fast"
    gone = (
        f" The last column is the smallest batch on {faster}, at the same cost of launches.",
        f", and on {faster}",
    )
    for clause in gone:
        kept = [text.replace(clause, "") for text in kept]
    return [
        re.sub(
            r"(\d+) curves? (?:is|are) predicted to grow",
            lambda count: f"{int(count[1]) + grow_at_once} curves are predicted to grow",
            text,
        )
        for text in kept
        if text
    ]
