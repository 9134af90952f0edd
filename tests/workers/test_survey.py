"""What a process says of the registry and of this machine, whatever its plugins print."""

from __future__ import annotations

from pathlib import Path

import pytest

import paraformer_bench
from paraformer_bench.study.errors import UsageError
from paraformer_bench.workers.ask import take_survey


def test_the_survey_lists_every_name_with_its_devices() -> None:
    told = take_survey()
    assert {"serial", "paraformer", "paraformer_code"} <= set(told.models)
    assert {"loop", "stacked"} <= set(told.executions)
    assert {"eager", "graph"} <= set(told.runtimes)
    assert told.models["paraformer"].branched
    assert not told.executions["loop"].needs_branches
    assert told.runtimes["graph"].devices == ("cuda",)
    for name, traits in (told.models | told.executions | told.runtimes).items():
        assert traits.summary, f"{name} has no docstring"
        assert traits.source.startswith(paraformer_bench.__name__)


def test_a_plugin_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        take_survey([tmp_path / "none.py"])


def test_plugins_may_print_what_they_like(tmp_path: Path) -> None:
    plugin = tmp_path / "noisy.py"
    plugin.write_text("import os\nprint('hello')\nos.write(1, b'and more')\n")
    assert "loop" in take_survey([plugin]).executions
