"""What a page is made of, and how it is written into one self-contained file.

`templates/page.html.j2` renders it. A ``str`` that is no `Markup` is text of unknown origin, and
is escaped; `report.html` makes paragraphs and all else that is no class of its own here.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from paraformer_bench.report.figures import style
from paraformer_bench.report.html import Facts, Swatches, legend, plain, prose
from paraformer_bench.study import __version__, words
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import write_whole

R = TypeVar("R")
Attributes = Mapping[str, object]
"""Of an element, by name; what is None is left out."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: ``text``, below it in grey ``detail``; without a ``key`` sorted last."""

    text: str
    detail: str = ""
    key: float | None = None
    attributes: Attributes = field(default_factory=dict)

    @property
    def html(self) -> str:
        """The text as the page has it: what is long and no `Markup` can be unfolded."""
        folds = len(self.text) > 240 and not isinstance(self.text, Markup)
        return prose(self.text) if folds else self.text


@dataclass(frozen=True)
class Column(Generic[R]):
    """A column of a table.

    Attributes:
        cell: Of a row; None leaves the element out, for a cell before it that reaches so far.
        name: What stands before its cells where rows become cards; the head if it is empty.
        title: What the head means.
        line: Number of the curve of the page that it is about.
    """

    head: str
    cell: Callable[[R], Cell | str | None]
    name: str = ""
    title: str | None = None
    line: int | None = None


@dataclass(frozen=True)
class Table(Generic[R]):
    """A table: a row for each of ``rows``, of which the first cell is the head.

    Attributes:
        look: CSS classes; ``plain`` and ``verdicts`` become cards on a narrow page, the head of a
            ``sortable`` one is clicked.
        label: What it is for those who cannot see it; a table that has one scrolls by itself.
        region: Attributes of what scrolls.
        attributes: Of a row.
        notes: Of a row, over its whole width; makes every row a body of its own.
    """

    columns: Sequence[Column[R]]
    rows: Sequence[R]
    look: str = "sortable plain"
    label: str = ""
    caption: str = ""
    region: Attributes = field(default_factory=dict)
    attributes: Callable[[R], Attributes] = lambda row: {}
    notes: Callable[[R], Sequence[str]] | None = None

    def cells(self, row: R) -> Iterator[tuple[str, Attributes, Cell]]:
        """Yield tag, attributes and contents of the cells of a row."""
        cards = "plain" in self.look or "verdicts" in self.look
        for place, column in enumerate(self.columns):
            value = column.cell(row)
            if value is None:
                continue
            cell = value if isinstance(value, Cell) else Cell(value)
            name = column.name or plain(column.head)
            yield (
                "td" if place else "th",
                {
                    "scope": None if place else "row",
                    "data-line": column.line,
                    "data-head": name if cards and place else None,
                    "data-key": None if cell.key is None else f"{cell.key:.5g}",
                    **cell.attributes,
                },
                cell,
            )


@dataclass(frozen=True)
class ChartPanel:
    """A drawn panel of a regime, whose number is None where it is about none, and its values."""

    regime: int | None
    caption: str
    svg: Markup
    values: Table[Any]


@dataclass(frozen=True)
class Chart:
    """A figure of panels side by side, each with its values as a table.

    ``key`` is its anchor and begins every id in its drawings. Without a title each panel stands
    for itself.
    """

    panels: Sequence[ChartPanel]
    key: str = ""
    title: str = ""
    note: str = ""
    unit: str = ""
    legend: Swatches = ()


@dataclass(frozen=True)
class Fold:
    """What can be unfolded: what is seen of it before, the rest, and how much that is."""

    summary: str
    body: Sequence[Block]
    tally: str = ""
    attributes: Attributes = field(default_factory=lambda: {"class": "data"})
    open: bool = False


Block: TypeAlias = "Markup | Table[Any] | Chart | Fold"


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading, which is empty where a `Chart` of this id is all there is.

    ``nav`` is its name in the list of sections; empty to leave it out there.
    """

    id: str
    title: str
    body: Sequence[Block]
    nav: str = ""


@dataclass(frozen=True)
class Page:
    """A page: its head and its sections.

    Attributes:
        place: Where one is, above everything.
        tone: CSS class of the answer, which is the heading; ``symbol`` is its mark.
        claims: What must be known of it, in grey.
        leads: What there is to say, large.
        filters: Attributes for the script that narrows the page down; none if it cannot be.
    """

    title: str
    place: Markup
    question: str
    heading: str
    tone: str
    sections: Sequence[Section]
    symbol: str = ""
    claims: Sequence[str] = ()
    leads: Sequence[Markup] = ()
    banners: Sequence[Markup] = ()
    facts: Facts = field(default_factory=list)
    filters: Mapping[str, str] = field(default_factory=dict)


def alone(chart: Chart | None, nav: str = "") -> list[Section]:
    """Return a figure as a section of its own, none if there is no figure."""
    return [Section(chart.key, "", [chart], nav)] if chart else []


def render(page: Page) -> str:
    """Return a page as HTML.

    Every value is escaped unless it is `Markup`. The page carries a policy under which browsers
    fetch nothing and run no script but the page's own.
    """
    return render_template("page.html.j2", page=page)


def render_template(template: str, **context: object) -> Markup:
    """Return what a template of ``report/templates`` makes of ``context``."""
    return Markup(_environment().get_template(template).render(context))


def write(path: Path, text: str) -> Path:
    """Write ``text`` to ``path`` so that readers see the old or the new file, never a part.

    Raises:
        UsageError: It cannot be written.
    """
    target = path.parent
    try:
        target.mkdir(parents=True, exist_ok=True)
        target = path
        write_whole(path, words.printable(text).encode("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from None
    return path


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("paraformer_bench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = sorted((Path(__file__).parent / "templates").glob("*.js"))
    script = "\n".join(path.read_text(encoding="utf-8") for path in scripts)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    environment.globals.update(
        theme=style.THEME, script=Markup(script), script_digest=digest, version=__version__
    )
    environment.filters |= {"count": words.count, "prose": prose, "legend": legend}
    return environment
