"""`doctor --ceilings` and the probe of a sweep, for real."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paraformer_bench.study import wire
from paraformer_bench.study.ceilings import Ceilings

pytestmark = pytest.mark.slow


def test_the_doctor_measures_the_sweep_takes_it_and_the_page_shows_it(cli, tmp_path: Path) -> None:
    result = cli("doctor", "--ceilings", cwd=tmp_path, state=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "one eager launch" in result.stdout
    [entry] = json.loads((tmp_path / "paraformer_bench/ceilings.json").read_text())["devices"]
    ceilings = wire.convert(entry, Ceilings)
    assert ceilings.device == "cpu"
    assert {"float32", "float64", "bfloat16"} <= set(ceilings.dtypes)
    assert "tf32" not in ceilings.dtypes
    for product in ceilings.products:
        assert 1e6 < product.flops / product.seconds < 1e14
    for copy in ceilings.copies:
        assert 1e7 < copy.bytes_per_second < 1e13
    arguments = ("sweep", "--suite", "smoke", "--blocks", "1", "--out", "run")
    result = cli(*arguments, cwd=tmp_path, state=tmp_path)
    assert result.returncode == 0
    # What was measured beside other programs is not trusted, and is measured again.
    assert ("measuring the ceilings" in result.stdout) == bool(ceilings.flags)
    kept = json.loads((tmp_path / "run/run.json").read_text())["ceilings"]
    assert (kept == entry) == (not ceilings.flags)
    assert "fastest product, float32" in (tmp_path / "run/index.html").read_text()


def test_a_sweep_without_ceilings_measures_them(cli, tmp_path: Path) -> None:
    arguments = ("sweep", "--suite", "smoke", "--blocks", "1", "--models", "serial")
    dry = cli(*arguments, "--dry-run", cwd=tmp_path, state=tmp_path)
    assert "before that: the ceilings of the device" in dry.stdout
    result = cli(*arguments, "--out", "run", cwd=tmp_path, state=tmp_path)
    assert result.returncode == 0
    assert "measuring the ceilings of cpu" in result.stdout
    info = json.loads((tmp_path / "run/run.json").read_text())
    assert wire.convert(info["ceilings"], Ceilings).dtypes == ("float32",)
    [prediction] = json.loads((tmp_path / "run/predictions.json").read_text())
    assert prediction["reason"] is None
