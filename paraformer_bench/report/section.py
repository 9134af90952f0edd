"""What a page is made of: sections of texts, tables, figures and what unfolds.

`templates/page.html.j2` renders each class below in one place. A ``str`` is text of unknown origin
and is escaped; only `Markup` (made by `report.html`) stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from markupsafe import Markup

from paraformer_bench.report.html import prose

R = TypeVar("R")
Facts = list[tuple[str, str]]
"""Names and values, as text."""
Attributes = Mapping[str, object]
"""Of an element, by name; what is None is left out."""


class Block:
    """A piece of a section; the template renders it by its ``kind``."""

    kind: ClassVar[str]


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading.

    Attributes:
        id: Its anchor.
        title: The heading; empty where a `Chart` of the same anchor is all there is.
        body: In reading order.
        nav: Its name in the list of sections; empty to leave it out there.
    """

    id: str
    title: str
    body: Sequence[Block]
    nav: str = ""


@dataclass(frozen=True)
class Text(Block):
    """A paragraph; ``look`` is its CSS class."""

    kind = "text"
    html: str
    look: str = "text"


@dataclass(frozen=True)
class Heading(Block):
    """A heading within a section."""

    kind = "heading"
    html: str


@dataclass(frozen=True)
class Code(Block):
    """Lines to be copied."""

    kind = "code"
    text: str


@dataclass(frozen=True)
class Items(Block):
    """A list; each item with the attributes of its element."""

    kind = "items"
    items: Sequence[tuple[Attributes, str]]
    look: str = ""


@dataclass(frozen=True)
class Terms(Block):
    """Names and what they mean."""

    kind = "terms"
    terms: Facts


@dataclass(frozen=True)
class Pairs(Block):
    """Names and values as a table."""

    kind = "pairs"
    facts: Facts


@dataclass(frozen=True)
class Sheets(Block):
    """Short lists side by side."""

    kind = "sheets"
    sheets: Sequence[Sequence[Block]]


@dataclass(frozen=True)
class Drawing(Block):
    """A figure that is as wide as the page; on a narrow one it scrolls."""

    kind = "drawing"
    svg: Markup
    label: str
    caption: str = ""


@dataclass(frozen=True)
class Legend(Block):
    """Swatches and what they stand for; the number is that of a line of the page."""

    kind = "legend"
    entries: Sequence[tuple[int | None, str, Markup]]


@dataclass(frozen=True)
class Fold(Block):
    """What can be unfolded.

    Attributes:
        summary: What is seen of it when it is folded.
        body: The rest.
        tally: How much that is.
        attributes: Of its element.
        open: Whether it begins unfolded.
    """

    kind = "fold"
    summary: str
    body: Sequence[Block]
    tally: str = ""
    attributes: Attributes = field(default_factory=lambda: {"class": "data"})
    open: bool = False


@dataclass(frozen=True)
class Include(Block):
    """A template of its own."""

    kind = "include"
    template: str


@dataclass(frozen=True)
class TableCell:
    """A cell of a table.

    Attributes:
        text: What people read; what is long and not `Markup` can be unfolded.
        detail: Less important, below it.
        key: Number to sort it by; null: sort it last.
        attributes: Of its element.
    """

    text: str
    detail: str = ""
    key: float | None = None
    attributes: Attributes = field(default_factory=dict)

    @property
    def html(self) -> str:
        """The text as the page has it."""
        folds = len(self.text) > 240 and not isinstance(self.text, Markup)
        return prose(self.text) if folds else self.text


@dataclass(frozen=True)
class Column(Generic[R]):
    """A column of a table.

    Attributes:
        head: Over it.
        cell: Of a row; None leaves the element out, for a cell before it that reaches so far.
        name: What stands before its cells where rows become cards; the head if it is empty.
        title: What the head means.
        line: Number of the line of the page that it is about.
    """

    head: str
    cell: Callable[[R], TableCell | str | None]
    name: str = ""
    title: str | None = None
    line: int | None = None

    @property
    def attributes(self) -> Attributes:
        """Of the element of its head."""
        return {"title": self.title, "data-line": self.line}


@dataclass(frozen=True)
class Table(Block, Generic[R]):
    """A table: a row for each of ``rows``, of which the first cell is the head.

    Attributes:
        columns: From left to right.
        rows: What the columns' cells are of.
        look: CSS classes; ``plain`` and ``verdicts`` become cards on a narrow page, the head of a
            ``sortable`` one is clicked.
        label: What it is for those who cannot see it; a table that has one scrolls by itself.
        caption: Over it.
        region: Attributes of what scrolls.
        attributes: Of a row.
        notes: Of a row, over its whole width; makes every row a body of its own.
    """

    kind = "table"
    columns: Sequence[Column[R]]
    rows: Sequence[R]
    look: str = "sortable plain"
    label: str = ""
    caption: str = ""
    region: Attributes = field(default_factory=dict)
    attributes: Callable[[R], Attributes] = lambda row: {}
    notes: Callable[[R], Sequence[str]] | None = None

    def cells(self, row: R) -> Iterator[tuple[str, dict[str, object], TableCell]]:
        """Yield tag, attributes and contents of the cells of a row."""
        cards = "plain" in self.look or "verdicts" in self.look
        for place, column in enumerate(self.columns):
            value = column.cell(row)
            if value is None:
                continue
            cell = value if isinstance(value, TableCell) else TableCell(value)
            attributes: dict[str, object] = {"data-line": column.line}
            if not place:
                attributes["scope"] = "row"
            elif cards:
                attributes["data-head"] = column.name or Markup(column.head).striptags()
            if cell.key is not None:
                attributes["data-key"] = f"{cell.key:.5g}"
            yield "td" if place else "th", attributes | dict(cell.attributes), cell


@dataclass(frozen=True)
class ChartPanel:
    """A drawn panel: the number of its regime, its words, the drawing and its values."""

    regime: int
    caption: str
    svg: Markup
    values: Table[Any]


@dataclass(frozen=True)
class Chart(Block):
    """A figure: words, a legend, panels, and its values as tables.

    Attributes:
        key: Its anchor, and start of every id in its drawings.
        title: What is drawn.
        note: How to read it.
        unit: What stands behind a value.
        legend: Of every line.
        panels: One a regime.
    """

    kind = "chart"
    key: str
    title: str
    note: str
    unit: str
    legend: Legend
    panels: Sequence[ChartPanel]


def fold_of(
    regime: Any, body: Sequence[Block], tally: str, most_open: bool, **attributes: object
) -> Fold:
    """Return what unfolds to all about one regime of the page (`data.Conditions`)."""
    given = {"class": "regime", "data-regime": regime.number} | attributes
    return Fold(regime.full, body, tally, given, most_open)


def alone(chart: Chart | None, nav: str = "") -> list[Section]:
    """Return a figure as a section of its own, none if there is no figure."""
    return [Section(chart.key, "", [chart], nav)] if chart else []
