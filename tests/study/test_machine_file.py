from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from paraformer_bench.study import machine_file
from paraformer_bench.study.calibration import Calibration
from paraformer_bench.study.machine_file import CALIBRATIONS

Make = Callable[..., Calibration]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of the file, in a folder that is not there yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "paraformer_bench" / "calibration.json"


def test_place_of_the_file(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert CALIBRATIONS.path() == file
    monkeypatch.setenv("HOME", str(tmp_path))
    for none in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", none)
        assert CALIBRATIONS.path() == tmp_path / ".local/state" / file.relative_to(
            tmp_path / "state"
        )


def test_there_and_back(file: Path, make_calibration: Make) -> None:
    calibration = make_calibration()
    assert CALIBRATIONS.recall(calibration.place) == (None, [])
    assert CALIBRATIONS.keep(calibration) == []
    assert CALIBRATIONS.recall(calibration.place) == (calibration, [])
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_last_one_of_each_place_is_kept(file: Path, make_calibration: Make) -> None:
    first = make_calibration()
    others = [replace(first, torch="2.6.0"), replace(first, device="cuda:0")]
    others += [replace(first, host="other"), replace(first, device_name="EPYC, 2 cores")]
    last = replace(first, date="2027-01-01T00:00:00+00:00", package="9")
    for calibration in (first, *others, last):
        assert CALIBRATIONS.keep(calibration) == []
    assert CALIBRATIONS.read() == ([*others, last], [])
    for calibration in (*others, last):
        assert CALIBRATIONS.recall(calibration.place) == (calibration, [])
    assert CALIBRATIONS.recall(replace(first, torch="2.7.0").place) == (None, [])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "\0\xff",
        '{"version": 2, "calibrations": []}',
        '{"a": 1}',
        "[" * 100_000,
    ],
)
def test_foreign_file_is_ignored_and_replaced(
    file: Path, make_calibration: Make, text: str
) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="latin-1")
    calibration = make_calibration()
    found, [warning] = CALIBRATIONS.recall(calibration.place)
    assert found is None
    assert warning.startswith("calibrations ignored: ")
    assert str(file) in warning
    assert CALIBRATIONS.keep(calibration) == [warning]
    assert CALIBRATIONS.recall(calibration.place) == (calibration, [])


def test_entry_that_makes_no_sense_is_dropped_alone(file: Path, make_calibration: Make) -> None:
    good = make_calibration()
    CALIBRATIONS.keep(good)
    data = json.loads(file.read_text())
    data["calibrations"] += [{}, None, data["calibrations"][0] | {"readings": []}]
    file.write_text(json.dumps(data))
    found, warnings = CALIBRATIONS.read()
    assert found == [good]
    assert [warning.partition(" of ")[0] for warning in warnings] == [
        f"calibration {number}" for number in (2, 3, 4)
    ]


def test_no_list_of_entries_is_none(file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_text('{"version": 1, "calibrations": 7}')
    assert CALIBRATIONS.read() == ([], [])


def test_folder_that_cannot_be_written(
    tmp_path: Path, make_calibration: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    [warning] = CALIBRATIONS.keep(make_calibration())
    assert warning.startswith("the calibration is not kept: ")
    assert CALIBRATIONS.recall(make_calibration().place) == (None, [])


def test_nobody_is_at_home(make_calibration: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_file, "user_state_path", lambda name: Path("~/.local/state", name))
    [warning] = CALIBRATIONS.keep(make_calibration())
    assert warning.endswith("no home directory is known: set XDG_STATE_HOME")
    assert CALIBRATIONS.recall(make_calibration().place) == (None, [])
