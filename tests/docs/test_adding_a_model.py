"""The newcomer's path, followed to the letter: its code, its commands and what it says of them."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from paraformer_bench.study.record import Record

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "adding-a-model.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"Save as `(\w+\.py)`:\n\n```python\n(.*?)```", TEXT, re.DOTALL))
PLACES = dict(re.findall(r"^\| `(\w+\.py)` \| `([\w/]+\.py)` \|$", TEXT, re.MULTILINE))

Run = Callable[..., CompletedProcess[str]]


def blocks(language: str) -> list[str]:
    """Every block of code in a language, in the order of the text."""
    return re.findall(rf"^```{language}\n(.*?)```$", TEXT, re.DOTALL | re.MULTILINE)


LIST_MODELS, LIST_EXECUTIONS, SMALL, EARNEST, WRONG = blocks("sh")
MODEL_ROWS, EXECUTION_ROWS, SKIPPED, MISMATCH = blocks("text")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader's folder, at first empty, with the files that the text says to save."""
    folder = tmp_path_factory.mktemp("reader")
    for name, code in FILES.items():
        (folder / name).write_text(code, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def run(cli, folder: Path) -> Run:
    """Run one command of the text in the reader's folder."""

    def run(command: str, *more: str) -> CompletedProcess[str]:
        python, option, package, *arguments = shlex.split(command.replace("\\\n", " "))
        assert (python, option, package) == ("python", "-m", "paraformer_bench")
        return cli(*arguments, *more, cwd=folder)

    return run


def counted(records: list[Record]) -> Counter[tuple[str, int, str]]:
    return Counter((r.case.execution, r.case.depth, r.status) for r in records)


def cells(tables: str) -> list[list[str]]:
    """The cells of every row that `list` printed."""
    rows = [line.split("│")[1:-1] for line in tables.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in row] for row in rows]


def lines(*texts: str) -> int:
    return sum(bool(line.strip()) for text in texts for line in text.splitlines())


def test_it_is_as_short_as_it_says() -> None:
    assert list(FILES) == ["mlp_sum.py", "merged.py"]
    assert len(FILES) == len(blocks("python"))
    promised = re.search(r"two files, under\n(\d+) lines together", TEXT)
    assert promised
    assert lines(*FILES.values()) < int(promised[1]) <= 60


@pytest.mark.parametrize(
    ("command", "rows"), [(LIST_MODELS, MODEL_ROWS), (LIST_EXECUTIONS, EXECUTION_ROWS)]
)
def test_list_shows_them(run: Run, command: str, rows: str) -> None:
    result = run(command)
    assert result.returncode == 0, result.stderr
    shown = cells(result.stdout)
    for row in rows.splitlines():
        assert re.split(" {2,}", row) in shown


def test_sweep_measures_them(run: Run, files, folder: Path) -> None:
    result = run(SMALL)
    assert result.returncode == 0, result.stdout + result.stderr
    records = files.records(folder / "reports" / "small")
    assert {record.case.model for record in records} == {"mlp_sum"}
    found = counted(records)
    for execution, status in (("loop", "ok"), ("merged", "ok"), ("stacked", "skipped")):
        assert [found[execution, depth, status] for depth in (1, 2, 4)] == [2, 2, 2]
    reasons = {record.reason for record in records if record.status == "skipped"}
    assert reasons == set(SKIPPED.splitlines())
    lines = result.stdout.splitlines()
    # Below the sentence may stand how many more blocks would settle it.
    sentence = lines[lines.index("report: reports/small/index.html") + 1]
    assert "mlp_sum under " in sentence
    html = (folder / "reports" / "small" / "index.html").read_text(encoding="utf-8")
    assert "Cases without a time" in html
    assert (folder / "reports" / "small" / "verdicts.json").exists()


def test_study_in_earnest_is_planned(run: Run) -> None:
    result = run(EARNEST, "--dry-run")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("quick on ")
    for curve in ("serial-loop-eager-", "mlp_sum-loop-eager-", "mlp_sum-merged-eager-"):
        assert f"\n  {curve}w192-" in result.stdout


def test_wrong_execution_is_a_mismatch(run: Run, files, folder: Path) -> None:
    [change] = blocks("diff")
    removed, added = (re.search(rf"^\{sign}(.*)$", change, re.MULTILINE) for sign in "-+")
    assert removed
    assert added
    right = FILES["merged.py"]
    assert right.count(removed[1] + "\n") == 1
    path = folder / "merged.py"
    path.write_text(right.replace(removed[1], added[1]), encoding="utf-8")
    try:
        result = run(WRONG)
    finally:
        path.write_text(right, encoding="utf-8")
    assert result.returncode == 3, result.stdout + result.stderr
    records = files.records(folder / "reports" / "wrong")
    assert counted(records) == {("merged", 1, "ok"): 1, ("merged", 4, "mismatch"): 1}
    [record] = [record for record in records if record.status == "mismatch"]
    assert record.wall_seconds == []
    # The weights come from a seed; how PyTorch draws from it may change.
    number = re.compile(r"relative error [\d.e-]+ ")
    assert record.reason
    assert number.sub("", record.reason) == number.sub("", MISMATCH.strip())
    html = (folder / "reports" / "wrong" / "index.html").read_text(encoding="utf-8")
    assert record.reason in html


def test_built_in_they_need_no_other_change(cli, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    unwanted = shutil.ignore_patterns("__pycache__")
    for name in ("paraformer_bench", "tests/models"):
        shutil.copytree(ROOT / name, checkout / name, ignore=unwanted)
    shutil.copy(ROOT / "pyproject.toml", checkout)
    assert list(PLACES) == list(FILES)
    for name, place in PLACES.items():
        assert (checkout / place).parent.is_dir()
        (checkout / place).write_text(FILES[name], encoding="utf-8")
    listed = cli("list", cwd=checkout, path=checkout)
    assert listed.returncode == 0, listed.stderr
    sources = {row[0]: row[-1] for row in cells(listed.stdout) if row[-2] == "cpu, cuda"}
    assert sources["mlp_sum"] == sources["merged"] == "built in"
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/models/test_costs.py"]
    tested = cli.python(*command, "-k", "mlp_sum or span", cwd=checkout, path=checkout)
    assert tested.returncode == 0, tested.stdout


def test_installed_they_need_no_option(cli, install, tmp_path: Path) -> None:
    [project] = blocks("toml")
    package = tmp_path / "package" / "my_nets"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name, code in FILES.items():
        (package / name).write_text(code, encoding="utf-8")
    (package.parent / "pyproject.toml").write_text(project, encoding="utf-8")
    install(package.parent, tmp_path / "site")
    result = cli("list", cwd=tmp_path, path=tmp_path / "site")
    assert result.returncode == 0, result.stderr
    points = tomllib.loads(project)["project"]["entry-points"]["paraformer_bench.plugins"]
    sources = {row[0]: row[-1] for row in cells(result.stdout) if row[-2] == "cpu, cuda"}
    assert sources.items() >= points.items()
