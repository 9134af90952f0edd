"""Broken suite and plugin files, each refused in one line, with exit code 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Refuse = Callable[..., str]

GRID = '[[grid]]\nmodels = ["serial"]\ndepth = [1, 2]\nwidth = 64\ntokens = 17\n'

SUITES = {
    "": "a suite needs at least one [[grid]]",
    "grid = []": "a suite needs at least one [[grid]]",
    "[grid]\nmodels = 1": "a suite needs at least one [[grid]]",
    "grid = [1]": "[[grid]] must be a table, not 1",
    "[[grid]\n": "is not valid TOML: ",
    "name = 7\n" + GRID: "name must be text, not 7",
    "name = ' '\n" + GRID: "name must be text, not ' '",
    "claim = 1\n" + GRID: "claim must be a table, not 1",
    "titel = 'x'\n" + GRID: "unknown key in the suite 'titel': ",
    "[claim]\nmargins = 0.1\n" + GRID: "unknown key in [claim] 'margins': did you mean 'margin'?",
    "[claim]\nmargin = nan\n" + GRID: "margin must be above 0 and below 100, not nan",
    "[claim]\nmargin = inf\n" + GRID: "margin must be above 0 and below 100, not inf",
    "[claim]\nmargin = -0.1\n" + GRID: "margin must be above 0 and below 100, not -0.1",
    "[claim]\nmargin = 0\n" + GRID: "margin must be above 0 and below 100, not 0",
    "[claim]\nmargin = '10%'\n" + GRID: "margin must be a number, not '10%'",
    "[claim]\nmargin = true\n" + GRID: "margin must be a number, not True",
    "[claim]\nconfidence = 1\n" + GRID: "confidence must be above 0.5 and below 1, not 1",
    "[claim]\nconfidence = nan\n" + GRID: "confidence must be above 0.5 and below 1, not nan",
    "[protocol]\nblock = 3\n" + GRID: "unknown key in [protocol] 'block': did you mean 'blocks'?",
    "[protocol]\nblocks = 0\n" + GRID: "blocks must be a whole number from 1 to 10000, not 0",
    "[protocol]\nblocks = 2.0\n" + GRID: "blocks must be a whole number from 1 to 10000, not 2.0",
    "[protocol]\nblocks = nan\n" + GRID: "blocks must be a whole number from 1 to 10000, not nan",
    "[protocol]\nrounds = -1\n" + GRID: "rounds must be a whole number from 1 to 10000, not -1",
    "[protocol]\nseconds_per_case = 0\n" + GRID: "seconds_per_case must be above 0 and below",
    "[protocol]\nseconds_per_case = nan\n" + GRID: "seconds_per_case must be above 0 and below",
    "[protocol]\ntimeout_seconds = inf\n" + GRID: "timeout_seconds must be above 0 and below",
    "[protocol]\ntarget_relative_error = 1\n" + GRID: "target_relative_error must be above 0",
    "[protocol]\nenergy_seconds = 1\n" + GRID: "energy_seconds must be 0 (no energy window) or at",
    "[protocol]\nenergy_seconds = -2\n" + GRID: "no energy window) or at least 2, not -2",
    "[protocol]\nenergy_seconds = nan\n" + GRID: "no energy window) or at least 2, not nan",
    "[protocol]\nenergy_seconds = true\n" + GRID: "energy_seconds must be a number, not True",
    "[protocol]\nenergy_seconds = '2'\n" + GRID: "energy_seconds must be a number, not '2'",
    "[protocol]\nenergy_seconds = 61\n"
    + GRID: "energy_seconds must be at most half of timeout_seconds (60), not 61",
    "[protocol]\nenergy_seconds = inf\n" + GRID: "energy_seconds must be above 0 and below 1e+06",
    f"[protocol]\nseconds_per_case = 1{400 * '0'}\n" + GRID: "below 1e+06, not 1000",
    f"[protocol]\nenergy_seconds = 1{400 * '0'}\n" + GRID: "above 0 and below 1e+06, not 1000",
    "[protocol]\nenergy_second = 2\n" + GRID: "'energy_second': did you mean 'energy_seconds'?",
    GRID + "deth = 3": "unknown key in [[grid]] 'deth': did you mean 'depth'?",
    GRID + "batch = []": "batch is empty: give at least one value",
    GRID + "batch = '1'": "batch must be a whole number from 1 to 1048576, not '1'",
    GRID + "batch = true": "batch must be a whole number from 1 to 1048576, not True",
    GRID + "dtype = 'fp32'": "unknown dtype 'fp32': did you mean 'float32'? known: bfloat16, flo",
    GRID + "dtype = [1]": "dtype must be names, not 1",
    GRID + "mode = 'trian'": "unknown mode 'trian'",
    GRID + "scope = 'hole'": "unknown scope 'hole': did you mean 'whole'? known: trunk, whole",
    GRID + "heads = 5": "width 64 is not divisible by heads 5",
    GRID + "image = 32": "[[grid]] takes tokens or image, not both",
    GRID + "branch_depth = 0": "branch_depth must be a whole number from 1 to 16384, not 0",
    GRID.replace("17", "18"): "tokens 18 is not a square number of patches and a class token: nea",
    GRID.replace("tokens = 17", "image = 100"): "image 100 is not divisible by patch 16",
    GRID.replace("[1, 2]", "[0]"): "depth must be a whole number from 1 to 16384, not 0",
    GRID.replace("[1, 2]", "[-1]"): "depth must be a whole number from 1 to 16384, not -1",
    GRID.replace("[1, 2]", "'deep'"): "depth must be a whole number from 1 to 16384, not 'deep'",
    GRID.replace(
        "[1, 2]", "1000000000"
    ): "depth must be a whole number from 1 to 16384, not 10000",
    GRID.replace("[1, 2]", "[[1]]"): "depth must be a whole number from 1 to 16384, not [1]",
    GRID.replace('["serial"]', "[]"): "models is empty: give at least one value",
    GRID.replace('["serial"]', "[1]"): "models must be names, not 1",
    GRID.replace('models = ["serial"]\n', ""): "[[grid]] needs models",
    GRID.replace("depth = [1, 2]\n", ""): "[[grid]] needs depth",
    GRID.replace("serial", "paraformer")
    + "branch_depth = 2": "depth 1 is not divisible by branch",
    GRID.replace("[1, 2]", str(list(range(1, 16385)))) + "batch = [1,2,3,4,5,6,7]": "than 100000 ",
    "a = " + "[" * 5000: "is not valid TOML: maximum recursion depth exceeded",
    "# \udcff\n" + GRID: "is not valid TOML: 'utf-8' codec can't decode",
}
"""Contents of a suite file, and a part of the message."""


@pytest.mark.parametrize("text", SUITES, ids=lambda text: SUITES[text][:40])
def test_suite_file(refused: Refuse, tmp_path: Path, text: str) -> None:
    (tmp_path / "suite.toml").write_text(text, encoding="utf-8", errors="surrogateescape")
    message = refused("sweep", "--suite", "suite.toml")
    assert SUITES[text] in message
    assert "(" not in message.partition(": ")[0]


PLUGINS = {
    "p.register_model('new'": "has a syntax error in line 2: '(' was never closed",
    "'\0'": ": source code string cannot contain null bytes",
    "1 / 0": "failed: ZeroDivisionError: division by zero",
    "raise SystemExit(3)": "failed: SystemExit: 3",
    "raise ValueError('one\\ntwo')": "failed: ValueError: one",
    "import no_such_package": "failed: ModuleNotFoundError: No module named 'no_such_package'",
    "p.register_model('serial')(print)": "model 'serial' is already registered by parafor",
    "p.register_execution('loop')(print)": "execution 'loop' is already registered by paraformer",
    "p.register_runtime('eager')(print)": "runtime 'eager' is already registered by paraformer_be",
    "p.register_model('My Net')(print)": "model name 'My Net' must be lower-case letters, digits",
    "p.register_model(print)": 'a model needs a name: write @register_model("its_name")',
    "p.register_runtime('fast', devices='cpu')": "unknown device type 'c': did you mean 'cpu'?",
    "p.register_runtime('fast', devices=('tpu',))": "unknown device type 'tpu': ",
}
"""Last line of a plugin file, and a part of the message."""


@pytest.mark.parametrize("code", PLUGINS)
def test_plugin_file(refused: Refuse, tmp_path: Path, code: str) -> None:
    path = tmp_path / "plugin.py"
    path.write_text(f"import paraformer_bench as p\n{code}\n")
    message = refused("sweep", "--suite", "smoke", "--plugin", str(path))
    assert message.startswith(f"plugin {path}")
    assert PLUGINS[code] in message
    assert "None" not in message


def test_plugin_that_is_no_python_file(refused: Refuse, tmp_path: Path) -> None:
    (tmp_path / "plugin.txt").touch()
    message = refused("sweep", "--suite", "smoke", "--plugin", "plugin.txt")
    assert message.endswith("plugin.txt: is no Python file: its name must end in .py")
