"""The Markdown of a run: complete, and nothing in it is markup that we did not write."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.__main__ import main
from paraformer_bench.report.markdown import code, escape, summary
from paraformer_bench.report.sections.files import citation
from paraformer_bench.study import wire
from paraformer_bench.study.run_folder import RunInfo

HOSTILE = [
    "<script>alert(1)</script>",
    "a|b",
    "[link](http://example.com)",
    "![image](http://example.com/x.png)",
    "*bold* _it_ `code` ~~gone~~",
    "# head",
    "two\nlines\r\n- item",
    "back\\slash",
    "\u202eright to left",
]


def test_says_what_the_page_says(make: Any, tmp_path: Path) -> None:
    text = summary(make.run(tmp_path, make.study()))
    assert text.startswith("## It depends on how and where the net is run.\n")
    assert "Verdict on the claim: **mixed**." in text
    assert "### width 192 · batch 1 · 197 tokens · float32 · cpu · inference · whole net" in text
    row = next(line for line in text.splitlines() if "**paraformer stacked, eager**" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == "→ constant"
    assert cells[2] == "L = 8 (of 8)"
    assert cells[-1] == "4"
    assert "incomplete" not in text
    assert text.endswith("```\npython -m paraformer_bench sweep --out 'a b'\n```\n")


def test_incomplete_and_failed(make: Any, tmp_path: Path) -> None:
    records = make.study() + make.curve(
        lambda depth: 1e-3, lost={8: ("oom", "no | memory")}, execution="vmap", model="paraformer"
    )
    text = summary(make.run(tmp_path, records, make.info(finished=None)))
    assert "The run is incomplete." in text
    assert "| oom | paraformer vmap, eager | 8 | no \\| memory |" in text


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_names_stay_text(make: Any, tmp_path: Path, hostile: str) -> None:
    records = make.study() + make.curve(lambda depth: 1e-3, model=hostile)
    info = make.info(name=hostile, command=["sweep", hostile], commit=hostile)
    text = summary(make.run(tmp_path, records, info))
    prose = re.sub(r"^(`{3,})\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"(?<!\\)<script", prose)
    assert not re.search(r"(?<!\\)\]\(", prose)
    rows = {
        len(re.findall(r"(?<!\\)\|", line)) for line in prose.splitlines() if line[:4] == "| **"
    }
    assert rows == {8}


def test_code_cannot_be_left_early() -> None:
    text = code("a\n```\nb")
    assert text.startswith("````\n")
    assert text.endswith("\n````")
    assert escape(code("x*y")) == "```\nx*y\n```"


def test_command_prints_it_and_writes_nothing(
    make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make.run(tmp_path / "run", make.study())
    before = sorted(path.name for path in folder.iterdir())
    assert main(["report", str(folder), "--format", "md"]) == 0
    assert capsys.readouterr().out == summary(folder)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_citation_is_whole_bibtex(make: Any) -> None:
    text = citation(wire.convert(make.info(), RunInfo), "a_{run} 100%", ["cpu"])
    assert text.startswith("@misc{arun100,\n")
    assert "title  = {paraformer\\_bench" in text
    assert "run a\\_ run 100\\%}" in text
    assert "year   = {2025}," in text
    assert "eprint = {2407.21670}," in text
    unescaped = re.sub(r"\\.", "", text)
    assert unescaped.count("{") == unescaped.count("}")
    assert citation(RunInfo(), "", []).startswith("@misc{run,\n")
