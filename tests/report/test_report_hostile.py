"""Whatever stands in a field appears as text and breaks nothing."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from paraformer_bench.report.build import build_report
from paraformer_bench.report.index import build_index

SCRIPT = "<script>alert(1)</script>"
STRINGS = {
    "script": SCRIPT,
    "attribute": "\" onmouseover='alert(1)' x=\"",
    "template": "{{ 7 * 7 }}{% raw %}",
    "lines": "one\ntwo\r\nthree",
    "right to left": "abc\u202edef\u2067ghi",
    "entities": "&lt;b&gt; &amp; ]]> --> </style></svg>",
    "math": r"$\frac{1}{$ 50%",
    "nothing a file can hold": "nul\x00 surrogate\ud800 bell\x07",
    "endless": "x" * 10_000,
}


@pytest.mark.parametrize("text", STRINGS.values(), ids=STRINGS.keys())
def test_hostile_text_is_text(make: Any, tmp_path: Any, text: str) -> None:
    named = ("model", "execution", "runtime", "device", "mode", "scope")
    fields = dict.fromkeys(named, text) | {"dtype": f"{text}d"}
    records = make.curve(lambda depth: 1e-3, depths=(1, 2), blocks=2, **fields)
    records += make.curve(
        lambda depth: 1.0, depths=(4,), blocks=1, lost={4: ("error", text)}, **fields
    )
    records += make.curve(lambda depth: 1e-3, depths=(1, 2), blocks=2, model="serial")
    records[0].flags = [text]
    for record in records:
        record.null_reasons = {"energy_joules": text}
    info = make.info(name=text, started=text, commit=text, plugins=[{"path": text}])
    info["environment"] = {"devices": {text: text}, text: {text: [text, {text: text}]}}
    info["command"] = ["python", text]
    info["shard"] = {"number": text, "of": [text]}
    host = {"host": {"name": text}}
    info["parts"] = [text, {"shard": info["shard"], "environment": host, "command": [text]}]
    info |= {"finished": None, "missing": [text]}
    info["suite"]["name"] = text
    info["suite"]["grid"][0][text] = text
    folder = make.run(tmp_path / "run", records, info)
    pages = [make.page(build_report(folder)), make.page(build_index(tmp_path))]
    honest = " ".join(re.sub("[\x00\x07\ud800]", "\ufffd", text).split())
    for page in pages:
        scripts = [attrs for tag, attrs in page.tags if tag == "script"]
        assert scripts == [{}]  # the page's own, and no other
        assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
        for source in page.svgs:
            ET.fromstring(source)
    assert honest[:100] in pages[0].text
    if text == STRINGS["endless"]:
        assert text in pages[0].source  # unfolds to the whole of it


def test_a_template_in_a_field_is_not_run(make: Any, tmp_path: Any) -> None:
    info = make.info(name="{{ 7 * 191 }}")
    page = make.page(build_report(make.run(tmp_path, [], info)))
    assert "{{ 7 * 191 }}" in page.text
    assert "1337" not in page.text


@pytest.mark.parametrize("wrong", [None, 7, "text", [], [1, [2]], {"a": None}, True])
@pytest.mark.parametrize(
    "key",
    [
        *("name", "environment", "machines", "versions", "plugins", "installed_plugins"),
        *("command", "efficiency", "started", "calibration", "ceilings"),
        *("shard", "parts", "missing"),
    ],
)
def test_facts_of_the_wrong_kind(make: Any, tmp_path: Any, key: str, wrong: object) -> None:
    folder = make.run(tmp_path, [], make.info(**{key: wrong}))
    assert "To measure it again" in make.page(build_report(folder)).text


def test_times_that_nobody_can_have_measured(make: Any, tmp_path: Any) -> None:
    records = [
        *make.curve(lambda depth: 1e-300 if depth == 1 else 1e300),
        *make.curve(lambda depth: 1e300 if depth == 1 else 1e-300, model="paraformer"),
    ]
    page = make.page(build_report(make.run(tmp_path, records)))
    assert "latency" not in page.ids


def test_times_beyond_all_bounds(make: Any, tmp_path: Any) -> None:
    records = make.curve(lambda depth: 1e-3, blocks=2)
    for record, seconds in zip(records, (1e-15, 1e15, 0.0, -1e-3), strict=False):
        record.wall_seconds = [seconds] * 5
    page = make.page(build_report(make.run(tmp_path, records)))
    assert "latency" in page.ids
