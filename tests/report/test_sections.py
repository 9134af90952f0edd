"""Sections: one file makes one, and nothing in it can break out of its text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.report import html, page, sections
from paraformer_bench.report.build import build_report
from paraformer_bench.report.page import Cell, Column, Fold, Page, Section, Table

REPORT = Path(page.__file__).parent

EXTRA = """
from paraformer_bench.report import html
from paraformer_bench.report.page import Column, Section, Table

ORDER = 35


def sections(data):
    columns = [
        Column("method", lambda verdict: html.method(verdict.curve)),
        Column("depths", lambda verdict: str(len(verdict.depths))),
    ]
    return [Section("extra", "How many depths", [Table(columns, data.verdicts)], "Depths")]
"""


def test_a_file_is_all_that_a_section_needs(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "extra.py").write_text(EXTRA, "utf-8")
    monkeypatch.setattr(sections, "__path__", [*sections.__path__, str(tmp_path / "more")])
    built = make.page(build_report(make.run(tmp_path / "run", make.study())))
    anchors = [name for name in built.ids if name in ("speedup", "extra", "why")]
    assert anchors == ["speedup", "extra", "why"]
    assert "How many depths method depths serial loop , eager 4" in built.text
    assert '<a href="#extra">Depths</a>' in built.source


def test_sections_stand_in_the_order_of_reading(make: Any, tmp_path: Path) -> None:
    built = make.page(build_report(make.run(tmp_path, make.study())))
    found = re.findall(r'<section id="([\w-]+)"', built.source)
    assert found == [
        *("verdicts", "claim", "latency", "speedup", "why", "price", "validity"),
        *("environment", "protocol", "data"),
    ]


def test_one_place_makes_markup() -> None:
    """Whatever else is text is escaped: by the template, or by `html.rich`."""
    makers = {
        str(path.relative_to(REPORT))
        for path in REPORT.rglob("*.py")
        if re.search(r"\bMarkup\(", path.read_text("utf-8"))
    }
    assert makers == {"html.py", "page.py", "figures/svg.py"}
    assert "safe" not in (REPORT / "templates" / "page.html.j2").read_text("utf-8")


BAD = '"><script>alert(1)</script>'


def test_no_part_of_a_page_lets_markup_through(make: Any, tmp_path: Path) -> None:
    table: Table[str] = Table(
        [
            Column(BAD, lambda row: row, BAD, BAD),
            Column("b", lambda row: Cell(row, row, attributes={"title": row})),
        ],
        [BAD, BAD * 100],
        label=BAD,
        caption=BAD,
        region={"data-any-regime": BAD},
        attributes=lambda row: {"id": row},
        notes=lambda row: [row],
    )
    body = [
        table,
        Fold(BAD, [html.text(BAD)], BAD, {"class": BAD}),
        html.heading(BAD),
        html.listing(BAD),
        html.bullets([BAD]),
        html.pairs([(BAD, BAD)]),
        html.sheets({BAD: [(BAD, BAD)]}),
        html.legend([(None, BAD, html.rich("<i></i>"))]),
        html.drawing(html.rich("<svg></svg>"), BAD, BAD),
        html.badge(BAD, BAD, BAD),
        html.method(make.case(model=BAD, execution=BAD, runtime=BAD).curve),
        html.prose(BAD * 100),
    ]
    whole = Page(
        title=BAD,
        place=html.prose(BAD),
        question=BAD,
        heading=BAD,
        tone=BAD,
        symbol=BAD,
        claims=[BAD],
        leads=[html.prose(BAD)],
        facts=[(BAD, BAD)],
        sections=[Section(BAD, BAD, body, BAD)],
        filters={"data-lines": BAD},
    )
    built = make.page(page.write(tmp_path / "page.html", page.render(whole)))
    assert "<script>alert" not in built.source
    assert [attributes for tag, attributes in built.tags if tag == "script"] == [{}]
