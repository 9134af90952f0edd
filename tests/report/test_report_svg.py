"""Drawings in a page: valid, unique in their ids, at home in light and dark."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from matplotlib.figure import Figure

from paraformer_bench.report.build import build_report
from paraformer_bench.report.figures import style
from paraformer_bench.report.figures.svg import to_svg
from paraformer_bench.study.case import Curve, Method, Regime

SVG = "{http://www.w3.org/2000/svg}"


def curve(*method: str) -> Curve:
    return Curve(Method(*method), Regime((), 1, "float32", "cpu"))


@pytest.fixture(scope="module")
def page(make: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    records = make.study(depths=(1, 2, 4)) + make.study(depths=(1, 2, 4), batch=8)
    return make.page(build_report(make.run(tmp_path_factory.mktemp("svg"), records)))


def test_every_drawing_is_valid_and_described(page: Any) -> None:
    assert len(page.svgs) > 10
    for source in page.svgs:
        root = ET.fromstring(source)
        assert root.tag == f"{SVG}svg"
        assert root.get("role") == "img"
        title, description = root[0], root[1]
        assert (title.tag, description.tag) == (f"{SVG}title", f"{SVG}desc")
        assert title.text
        assert description.text
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"


def test_ids_are_unique_over_the_page_and_references_resolve(page: Any) -> None:
    assert [name for name, number in Counter(page.ids).items() if number > 1] == []
    for source in page.svgs:
        here = set(re.findall(r'\bid="([^"]+)"', source))
        used = set(re.findall(r'href="#([^"]+)"', source) + re.findall(r"url\(#([^)]+)\)", source))
        assert used <= here


def test_colours_are_the_pages_own(page: Any) -> None:
    for source in page.svgs:
        drawn = re.sub(r"<(title|desc).*?</\1>", "", source)
        assert not re.search(r"#[0-9a-f]{6}\b", drawn)
        assert "rgb(" not in drawn
        assert "font-family" not in drawn
    used = set(re.findall(r"var\(--([\w-]+)\)", page.source))
    for name in used:
        assert f"--{name}:" in page.source
    assert {"ink", "grid", "muted", "paper"} <= used


def test_axes_name_their_units(page: Any) -> None:
    for key, label in (
        ("latency", "time per call (ms)"),
        ("speedup", "serial time / this time"),
        ("throughput", "images per second"),
        ("memory", "peak memory (MiB)"),
    ):
        panels = [svg for svg in page.svgs if re.search(rf'id="{key}-\d+-title"', svg)]
        assert len(panels) == 2
        for panel in panels:
            assert f">{label}</text>" in panel
            assert ">depth L (blocks in the net)</text>" in panel


def test_description_tells_first_and_last_value(make: Any, tmp_path: Any) -> None:
    records = make.curve(lambda depth: 1e-3 * depth, depths=(1, 4), blocks=1)
    for record in records:
        record.wall_seconds = [1e-3 * record.case.depth] * 5
    page = make.page(build_report(make.run(tmp_path, records)))
    drawing = next(svg for svg in page.svgs if 'id="latency-1-title"' in svg)
    assert "serial loop, eager: 1.00 at depth 1, 4.00 at depth 4." in drawing
    assert "time per call (ms), at depth L method 1 4 serial loop, eager 1.00 4.00" in page.text


def test_text_that_xml_cannot_hold_is_replaced() -> None:
    drawn = to_svg(Figure(), "x", "a\x00b<script>&", "c\ud800d\x0be")
    root = ET.fromstring(drawn)
    assert root[0].text == "a\ufffdb<script>&"
    assert root[1].text == "c\ufffdd\ufffde"


def test_drawing_is_the_same_every_time_and_leaves_settings_alone() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)

    def draw() -> str:
        with style.drawing():
            figure = Figure(figsize=(2, 2))
            figure.add_subplot().plot([1, 2], [1, 2], marker="o")
            return to_svg(figure, "x", "t", "d")

    assert draw() == draw()
    assert dict(mpl.rcParams) == before


def test_house_methods_keep_their_look_and_all_differ() -> None:
    house = [
        curve("serial", "loop", "eager"),
        curve("serial", "loop", "graph"),
        curve("paraformer", "loop", "eager"),
        curve("paraformer", "stacked", "eager"),
        curve("paraformer", "stacked", "graph"),
    ]
    guests = [curve(f"guest{n}", "loop", "eager") for n in range(4)]
    alone = style.looks(house)
    together = style.looks([*guests, *house])
    for label in (one.label for one in house):
        assert replace(together[label], number=0) == replace(alone[label], number=0)
    drawn = {(look.colour, look.marker, look.dash) for look in together.values()}
    assert len(drawn) == len(house) + len(guests)
    assert [look.number for look in together.values()] == list(range(len(together)))
    same = (alone[house[0].label], alone[house[1].label])
    assert same[0].colour == same[1].colour
    assert same[0].dash != same[1].dash


def test_more_methods_than_colours_still_get_a_look() -> None:
    lines = [curve(f"model{n}", "loop", "eager") for n in range(40)]
    looks = style.looks([*lines, curve("serial", "loop", "eager")])
    assert {line.label for line in lines} < set(looks)
    assert len({(look.colour, look.marker) for look in looks.values()}) == 41
    many = [curve(f"model{n}", "loop", "eager") for n in range(400)]
    assert set(style.looks(many)) == {line.label for line in many}


def test_series_colours_stand_out_on_both_pages() -> None:
    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: str, other: str) -> float:
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    for name, pair in style.THEME.items():
        if name in ("paper", "wash", "grid"):
            continue
        least = 3.0 if re.fullmatch(r"s\d", name) else 4.5  # WCAG 2: graphics, text
        for side in (0, 1):
            for ground in ("paper", "wash"):
                assert contrast(pair[side], style.THEME[ground][side]) >= least, (name, side)
