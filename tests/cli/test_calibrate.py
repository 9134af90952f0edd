"""``doctor --calibrate``, and what a sweep takes over from it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from paraformer_bench.__main__ import main
from paraformer_bench.doctor import Load
from paraformer_bench.study import wire
from paraformer_bench.study.calibration import DELAYS, Calibration
from paraformer_bench.study.survey import Survey


@pytest.fixture
def machine(survey_of: Callable[..., Survey], monkeypatch: pytest.MonkeyPatch) -> None:
    """A canned machine without a GPU."""
    monkeypatch.setattr("paraformer_bench.workers.ask.take_survey", survey_of)
    monkeypatch.setattr("paraformer_bench.doctor.look_at_load", lambda: Load(0.0, 0.0))


@pytest.mark.slow
@pytest.mark.alone
def test_real_delays_on_this_cpu(cli, files, tmp_path: Path) -> None:
    result = cli("doctor", "--calibrate", "--device", "cpu", cwd=tmp_path, state=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stdout
    [entry] = json.loads((tmp_path / "paraformer_bench/calibration.json").read_text())[
        "calibrations"
    ]
    calibration = wire.convert(entry, Calibration)
    assert calibration.device == "cpu"
    assert [reading.asked_seconds for reading in calibration.readings] == list(DELAYS)
    for reading in calibration.readings:
        assert reading.asked_seconds <= reading.true_seconds <= reading.measured_seconds
        assert f"{reading.measured_seconds * 1e6:,.2f} us" in result.stdout
    suite = files.write(
        tmp_path / "one.toml",
        "[protocol]\nblocks = 1\nseconds_per_case = 0.01\n"
        "[[grid]]\nmodels = 'serial'\ndepth = 1\nwidth = 64\ntokens = 17\n",
    )
    arguments = ("sweep", "--profile", "none", "--device", "cpu", "--suite", suite, "--out", "run")
    assert cli(*arguments, cwd=tmp_path, state=tmp_path).returncode == 0
    noted = json.loads((tmp_path / "run/run.json").read_text())["calibration"]
    assert wire.convert(noted, Calibration) == calibration
    assert "The instrument was calibrated on " in (tmp_path / "run/index.html").read_text()


@pytest.mark.parametrize(
    ("late", "words", "last"),
    [
        (0.0, "ok  cpu: known delays are read to within", "ready to measure"),
        (3e-6, "bad cpu: wall time is off by more than", "1 thing would spoil a measurement"),
    ],
)
@pytest.mark.usefixtures("machine")
def test_what_is_printed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make_calibration: Callable[..., Calibration],
    late: float,
    words: str,
    last: str,
) -> None:
    calibration = make_calibration(late)
    monkeypatch.setattr("paraformer_bench.workers.ask.calibrate", lambda *_: calibration)
    monkeypatch.setenv("XDG_STATE_HOME", os.devnull)  # no folder: it cannot be kept
    assert main(["doctor", "--calibrate"]) == 0
    output = capsys.readouterr().out
    # The state folder of tests cannot be written: that is no error.
    assert "warning: the calibration is not kept: " in output
    assert words in output
    assert output.splitlines()[-1] == last
    measured = calibration.readings[0].measured_seconds * 1e6
    [row] = [line for line in output.splitlines() if line.startswith("│ 50 us ")]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    difference, share = f"{measured - 50:+.2f} us", f"{measured / 50 - 1:+.2%}"
    assert cells[:4] == ["50 us", "wall", "50.00 us", f"{measured:.2f} us"]
    assert cells[4:] == [difference, share, "no" if late else "yes"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--device", "cpu"],
            "--device says what to measure: give --calibrate or --ceilings with it",
        ),
        (
            ["--calibrate", "--device", "gpu"],
            "device 'gpu' is not known: allowed are cpu",
        ),
        (
            ["--calibrate", "--device", "cuda:0"],
            "device cuda:0 is not there: torch 2.13.0 sees",
        ),
        (["--calibrate", "extra"], "Got unexpected extra argument (extra)"),
    ],
)
@pytest.mark.usefixtures("machine")
def test_bad_input(refused: Callable[..., str], arguments: list[str], message: str) -> None:
    assert refused("doctor", *arguments).startswith(message)


@pytest.mark.slow
def test_parent_loads_no_torch(cli, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom paraformer_bench.__main__ import main\n"
        "code = main(['doctor', '--calibrate', '--device', 'cpu'])\n"
        "print(code, 'torch' in sys.modules)"
    )
    result = cli.python("-c", code, cwd=tmp_path)
    assert result.stdout.splitlines()[-1] == "0 False", result.stderr


def test_sweep_warns_of_a_file_that_is_not_ours(
    cli, files, tmp_path: Path, make_calibration: Callable[..., Calibration]
) -> None:
    kept = tmp_path / "paraformer_bench" / "calibration.json"
    kept.parent.mkdir()
    kept.write_text("no JSON")
    suite = files.write(
        tmp_path / "none.toml",
        "[[grid]]\nmodels = 'serial'\nruntimes = 'graph'\ndepth = 1\nwidth = 64\ntokens = 17\n",
    )
    arguments = ("sweep", "--profile", "none", "--device", "cpu", "--suite", suite, "--out", "run")
    result = cli(*arguments, cwd=tmp_path, state=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"warning: calibrations ignored: cannot read {kept}" in result.stdout
    assert json.loads((tmp_path / "run/run.json").read_text())["calibration"] is None
