"""The command as people call it: what it prints, writes and returns."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from paraformer_bench.__main__ import main


@pytest.fixture
def run(
    asv: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Run the command on the folder ``asv``; return exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, where: bool = True) -> tuple[int, str, str]:
        results = ["--results", str(asv.path)] if where else []
        code = main(["regressions", *results, *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_nothing_changed(run: Any, asv: Any, truths: Any) -> None:
    truths.history(asv, 3)
    code, out, err = run()
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == (
        "0 regressions, 0 improvements, at 0 of 3 commits; 17 benchmarks with data, threshold 5%"
    )


def test_changes_stand_under_their_commit_the_largest_first(
    run: Any, asv: Any, truths: Any
) -> None:
    truths.history(asv, 9, noise=0.01, slower={3: 1.1, 7: 0.5}, memory={5: 2.0})
    code, out, _ = run()
    assert code == 1
    lines = out.splitlines()
    assert [line for line in lines if not line.startswith(" ")][:3] == [
        *("00000006", "00000004", "00000008")
    ]
    first = lines[1]
    assert re.fullmatch(
        r"  REGRESSION   [12]\.\d{3}× \([12]\.\d{3} to 2\.\d{3}\)  memory\.track_peak\(\d+\)  "
        r"\d+ MiB → [\d,]+ MiB on box",
        first,
    )
    assert sum("  IMPROVEMENT  0.5" in line or "  IMPROVEMENT  0.4" in line for line in lines) == 4
    assert "8 regressions, 4 improvements, at 3 of 9 commits" in lines[-1]


def test_of_several_environments_each_line_names_its_own(run: Any, asv: Any, truths: Any) -> None:
    truths.history(asv, 6, noise=0.01)
    asv.environment = "other-py3.12"
    truths.history(asv, 6, noise=0.01, memory={4: 2.0})
    asv.write(7, {"new.track": ("seconds", {}, [None])})
    _, out, _ = run()
    gaps = [line for line in out.splitlines() if line.startswith("no data at")]
    assert gaps
    assert all(line.endswith((" on box, existing-py", " on box, other-py3.12")) for line in gaps)
    found = [line for line in out.splitlines() if "REGRESSION" in line]
    assert len(found) == 4
    assert all(line.endswith(" on box, other-py3.12") for line in found)


def test_exit_code_0_if_things_only_got_better_or_little_worse(
    run: Any, asv: Any, truths: Any
) -> None:
    truths.history(asv, 6, noise=0.01, slower={3: 0.5})
    assert run()[0] == 0
    truths.history(asv, 6, noise=0.01, slower={3: 1.2})
    assert run("--threshold", "30%")[0] == 0
    assert run("--threshold", "0.15")[0] == 1


def test_json_is_a_list_of_changes(run: Any, asv: Any, truths: Any, tmp_path: Path) -> None:
    truths.history(asv, 6, noise=0.01, memory={4: 2.0})
    code, out, err = run("--json", "-")
    changes = json.loads(out)
    assert (code, err) == (1, "")
    assert len(changes) == 4
    depths = {change["params"]["depth"] for change in changes}
    assert depths == {"1", "4", "16", "64"}
    for change in changes:
        assert change["commit"] == truths.hash(4)
        assert change["previous"] == truths.hash(3)
        assert change["benchmark"] == "memory.track_peak"
        assert (change["verdict"], change["machine"]) == ("regression", "box")
        assert 1.9 < change["low"] < change["ratio"] < change["high"] < 2.1
    target = tmp_path / "changes.json"
    code, out, _ = run("--json", str(target))
    assert json.loads(target.read_text()) == changes
    assert out.splitlines()[-1].startswith("4 regressions")
    assert json.loads(run("--json", "-", "--last", "1")[1]) == []


def test_the_folder_is_that_of_the_configuration(
    run: Any, asv: Any, truths: Any, tmp_path: Path
) -> None:
    truths.history(asv, 2)
    (tmp_path / "asv.conf.json").write_text(
        '{\n    // where results are, say http://\n    "repo": ".", "results_dir": "results",\n}\n'
    )
    code, out, _ = run(where=False)
    assert code == 0
    assert "of 2 commits" in out


def test_what_had_no_data_is_said(run: Any, asv: Any, truths: Any) -> None:
    truths.history(asv, 5, noise=0.01, slower={3: 1.5})
    unit, params = "seconds", {"depth": ["1", "2", "3"]}
    fine = [[1.0, 1.01, 0.99, 1.0]] * 3
    gone: dict[str, Any] = {"new.track": (unit, params, fine)}
    asv.write(2, gone)  # of this commit there is one benchmark alone
    asv.write(5, {"new.track": (unit, params, [None, [1.0, 1.1], float("nan")])})
    depths = {"depth": ["1", "4", "16", "64"]}
    asv.write(
        6,
        {
            **{"new.track": (unit, params, [None] * 3)},
            "latency.track_time": (unit, {"execution": EXECUTIONS, **depths}, [None] * 12),
            "memory.track_peak": ("bytes", depths, [None] * 4),
            "counts.track_parameters": ("parameters", {}, [None]),
        },
    )
    code, out, err = run()
    assert (code, err) == (1, "")
    gaps = [line for line in out.splitlines() if line.startswith("no data at ")]
    names = "counts.track_parameters, latency.track_time(loop, 1), latency.track_time(loop, 4)"
    assert f"no data at 2 commits, 00000003 to 00000006: not measured: {names} and 14 more" in gaps
    news = "new.track(1), new.track(2), new.track(3)"
    assert f"no data at 4 commits, 00000001 to 00000005: not measured: {news}" in gaps
    assert "no data at 00000006: failed: new.track(1)" in gaps
    assert "no data at 00000006: too few samples: new.track(2)" in gaps
    assert "no data at 00000007: failed, all 20 benchmarks" in gaps
    # The change is still found, and between commits that have data.
    changed = json.loads(run("--json", "-")[1])
    where = {(c["commit"], c["previous"], c["between"]) for c in changed}
    assert where == {(truths.hash(3), truths.hash(1), 1)}
    assert "00000004  (or 1 commit just before it, without data)" in out


def test_values_without_scatter_that_is_known_are_not_judged(
    run: Any, asv: Any, truths: Any
) -> None:
    for number in range(4):
        asv.write(number, {"curve.track_inverse": ("1/depth", {}, [[1.0, 0.25][number % 2]])})
    code, out, _ = run()
    assert code == 0
    assert "not judged, as one value a commit says nothing of its scatter: curve.track_inv" in out


def test_broken_files_are_warnings(run: Any, asv: Any, truths: Any) -> None:
    truths.history(asv, 3)
    (asv.path / "box" / "dddddddd-x.json").write_text("{")
    code, _, err = run()
    assert code == 0
    assert re.fullmatch(r"warning: .*dddddddd-x\.json: is not JSON\n", err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--results", "nowhere"), "nowhere is not a folder of asv's results"),
        (("--machine", "bix"), "unknown machine 'bix': did you mean 'box'? known: box"),
        (("--threshold", "five"), "'five' is not a share from 0% to below 100%"),
        (("--threshold", "-1%"), "'-1%' is not a share"),
        (("--threshold", "5"), "'5' is not a share"),
        (("--threshold", "nan"), "'nan' is not a share"),
        (("--last", "0"), "0 is not in the range x>=1"),
        (("--last", "1", "--commits", "0000..0000"), "give --last or --commits, not both"),
        (("--commits", "HEAD"), "'HEAD' is not a range of commits"),
        (("--commits", "dead..beef"), "'dead' names no commit"),
        (("--json", "no/where.json"), "cannot write no/where.json: "),
        (("--out", "results/benchmarks.json"), "cannot write results/benchmarks.json: "),
        (("--resluts", "x"), "No such option"),
    ],
)
def test_wrong_usage_is_one_line(
    run: Any, asv: Any, truths: Any, arguments: tuple[str, ...], message: str
) -> None:
    truths.history(asv, 2)
    code, _, err = run(*arguments)
    assert code == 2
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("text", ["", "[]", "{", '{"results_dir": 7}'])
def test_a_broken_configuration(run: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "asv.conf.json").write_text(text)
    code, out, err = run(where=False)
    assert (code, out) == (2, "")
    assert err == "error: cannot read asv.conf.json: name the results with --results\n"


def test_no_configuration(run: Any) -> None:
    code, _, err = run(where=False)
    assert code == 2
    assert "there is no asv.conf.json here" in err


EXECUTIONS = ["'loop'", "'vmap'", "'stacked'"]


class Page(HTMLParser):
    """Tags and words of a page; complains about elements that are not closed."""

    VOID = frozenset({"meta", "link", "br", "col", "img", "input"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page(run: Any, asv: Any, truths: Any, tmp_path: Path) -> None:
    truths.history(asv, 8, noise=0.01, slower={3: 1.1}, memory={6: 2.0}, shifts={4: 1.3})
    code, out, _ = run("--out", "deep/page")
    assert code == 1
    assert out.splitlines()[-1] == "page: deep/page/index.html"
    source = (tmp_path / "deep" / "page" / "index.html").read_text("utf-8")
    page = Page(source)
    words = " ".join(" ".join(page.words).split())
    assert "8 regressions at 2 commits." in words
    assert "latency.track_time(stacked, 16)" in words
    drawings = re.findall(r"<svg.*?</svg>", source, re.DOTALL)
    assert len(drawings) == 8
    for drawing in drawings:
        ET.fromstring(drawing)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert "default-src 'none'" in source
    assert "http" not in source.replace("http-equiv", "").replace("http://www.w3.org", "")
    # Each figure is there as a table too, as measured and without what the machine did.
    cell = re.search(
        r"00000005</code> <bdi></bdi></th><td>([\d,.]+)</td><td>([\d,.]+)</td>", source
    )
    assert cell is not None
    told, measured = (float(text.replace(",", "")) for text in cell.groups())
    assert measured == told or measured / told == pytest.approx(1.3, rel=0.05)


def test_values_beyond_all_bounds(run: Any, asv: Any, tmp_path: Path) -> None:
    for number, level in enumerate((1e-300, 1e-300, 1e300, 1e300)):
        samples = [[level * (1 + 0.01 * k) for k in range(8)]]
        zeros = [[0.0, 0.5, 0.1 + number]]
        asv.write(
            number,
            {
                "a.track": ("seconds", {}, samples),
                "b.track": ("bytes", {}, samples),
                "c.track": ("operations", {}, [level]),
                "d.track": ("exponent", {}, zeros),
                "e.track": ("seconds", {}, zeros),
            },
        )
    code, out, _ = run("--out", "page", "--json", "changes.json")
    assert code == 1
    assert "REGRESSION" in out
    text = (tmp_path / "changes.json").read_text()
    assert len(json.loads(text, parse_constant=lambda name: pytest.fail(name))) == 3


HOSTILE = {
    "script": "<script>alert(1)</script>",
    "attribute": "\" onmouseover='alert(1)' x=\"",
    "template": "{{ 7 * 191 }}{% raw %}",
    "entities": "&lt;b&gt; ]]> --> </style></svg>",
    "math": r"$\frac{1}{$ 50%",
    "nothing a file can hold": "nul\x00 surrogate\ud800 bell\x07",
    "endless": "x" * 5_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_stays_text(
    run: Any, asv: Any, truths: Any, tmp_path: Path, text: str
) -> None:
    for number in range(4):
        level = 1.0 if number < 2 else 2.0
        samples = [level * (1 + 0.001 * k) for k in range(8)]
        asv.write(number, {f"a.{text}": (text, {text: [text, "b"]}, [samples, None])})
    code, _, _ = run("--out", "page")
    assert code == 1
    source = (tmp_path / "page" / "index.html").read_text("utf-8")
    page = Page(source)
    assert [attrs for tag, attrs in page.tags if tag == "script"] == [{}]  # the page's own
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    for drawing in re.findall(r"<svg.*?</svg>", source, re.DOTALL):
        ET.fromstring(drawing)
    assert "1337" not in source
