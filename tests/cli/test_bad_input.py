"""Wrong requests, each refused in one line, with exit code 2 and nothing written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

Refuse = Callable[..., str]

OPTIONS = {
    ("--models", "seriel"): "unknown model 'seriel': did you mean 'serial'? known: paraformer, se",
    (
        "--models",
        "serial,",
    ): "Invalid value for '--models': 'serial,' is not a comma list of names",
    ("--models", ""): "Invalid value for '--models': '' is not a comma list of names",
    ("--executions", "stackd"): "unknown execution 'stackd': did you mean 'stacked'?",
    ("--runtimes", "cudagraph"): "unknown runtime 'cudagraph': did you mean 'graph'?",
    ("--suite", "standrd"): "unknown suite 'standrd': ",
    ("--suite", "absent.toml"): "cannot read suite absent.toml: No such file or directory",
    ("--suite", ""): "unknown suite '': known: ",
    ("--suite", "../"): "unknown suite '../': ",
    ("--dtype", "float23"): "unknown dtype 'float23': did you mean 'float32'?",
    ("--depth", "0"): "'0' is not a comma list of whole numbers from 1 to 16384",
    ("--depth", "-4"): "'-4' is not a comma list of whole numbers from 1 to 16384",
    ("--depth", "deep"): "'deep' is not a comma list of whole numbers",
    ("--depth", "1.5"): "'1.5' is not a comma list of whole numbers",
    ("--depth", "1000000000"): "'1000000000' is not a comma list of whole numbers",
    ("--depth", "9" * 5000): "9' is not a comma list of whole numbers",
    ("--depth", "1,,2"): "'1,,2' is not a comma list of whole numbers",
    ("--depth", "²"): "'²' is not a comma list of whole numbers",
    ("--batch", "0"): "'0' is not a comma list of whole numbers from 1 to 1048576",
    ("--width", "100"): "width 100 is not divisible by heads of width 64: try 64 or 128",
    ("--width", "32"): "width 32 is not divisible by heads of width 64: try 64",
    ("--device", "gpu"): "device 'gpu' is not known: allowed are cpu and cuda:N",
    ("--device", "cuda"): "device 'cuda' is not known: allowed are cpu and cuda:N",
    ("--device", "cuda:-1"): "device 'cuda:-1' is not known",
    ("--device", "cuda:0"): "device cuda:0 is not there: torch 2.13.0 sees no CUDA device; use",
    ("--device", ""): "device '' is not known",
    ("--gpu", "0"): "device cuda:0 is not there: torch 2.13.0 sees no CUDA device; use --device",
    ("--gpu", "-1"): "Invalid value for '--gpu': -1 is not in the range x>=0.",
    ("--gpu", "first"): "Invalid value for '--gpu': 'first' is not a valid integer range.",
    ("--gpu", "0", "--device", "cpu"): "give --gpu or --device, not both",
    ("--blocks", "0"): "Invalid value for '--blocks': 0 is not in the range",
    ("--blocks", "many"): "Invalid value for '--blocks': 'many' is not a valid integer range.",
    ("--budget", "soon"): "Invalid value for '--budget': 'soon' is not a time such as 90s, 8m or",
    ("--budget", "0m"): "Invalid value for '--budget': '0m' is not a time",
    ("--budget", "-8m"): "Invalid value for '--budget': '-8m' is not a time",
    ("--budget", "9" * 400): "9' is not a time such as 90s, 8m or 1h",
    ("--budget", "9" * 308 + "h"): "9h' is not a time such as 90s, 8m or 1h",
    ("--budget", "nan"): "Invalid value for '--budget': 'nan' is not a time",
    ("--shard", "0/5"): "Invalid value for '--shard': '0/5' is not a shard such as 2/5",
    ("--shard", "6/5"): "Invalid value for '--shard': '6/5' is not a shard such as 2/5",
    ("--shard", "2/"): "Invalid value for '--shard': '2/' is not a shard such as 2/5",
    ("--shard", "a/b"): "Invalid value for '--shard': 'a/b' is not a shard such as 2/5",
    ("--shard", "-1/5"): "Invalid value for '--shard': '-1/5' is not a shard such as 2/5",
    ("--shard", "1/2/3"): "Invalid value for '--shard': '1/2/3' is not a shard such as 2/5",
    ("--shard", "²/5"): "Invalid value for '--shard': '²/5' is not a shard such as 2/5",
    ("--shard", "1/10001"): "the second of five, 10000 at most",
    ("--shard", "9" * 5000 + "/5"): "9/5' is not a shard such as 2/5",
    ("--shard", "2/5", "--resume"): "nothing to resume: reports/ holds no unfinished shard 2 of 5",
    ("--launcher", "cloud"): "Invalid value for '--launcher': 'cloud' is not ",
    ("--ray-address", "auto"): "--ray-address is for --launcher ray",
    ("--launcher", "local", "--ray-nodes", "x"): "--ray-nodes is for --launcher ray",
    ("--depth",): "Option '--depth' requires an argument.",
    ("--dept", "4"): "No such option",
    ("extra",): "Got unexpected extra argument (extra)",
    ("--plugin", "absent.py"): "absent.py does not exist or is no file",
    ("--plugin", "."): " does not exist or is no file",
    ("--models", "serial", "--executions", "stacked"): "nothing to measure: models without bran",
    ("--resume",): "nothing to resume: reports/ holds no unfinished run; name it with --out",
    ("--resume", "--out", "absent"): "absent is not a run folder: it has no run.json",
    ("--out", "file/run"): "cannot write to file/run: Not a directory",
    ("--out", "file"): "cannot write to file: File exists",
    ("--out", "x" * 300): "File name too long",
}
"""Options of sweep, and a part of the message."""


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_option(refused: Refuse, tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "file").touch()
    suite = () if "--suite" in options else ("--suite", "smoke")
    assert OPTIONS[options] in refused("sweep", *suite, *options)


@pytest.mark.parametrize("gpus", [2])
@pytest.mark.parametrize("index", ["2", "00000000000000000001", "9" * 5000])
def test_gpu_that_is_not_there(refused: Refuse, gpus: int, index: str) -> None:
    message = refused("sweep", "--suite", "smoke", "--device", f"cuda:{index}")
    assert message == f"device cuda:{index} is not there: there are cuda:0, cuda:1"


COMMANDS = {
    ("swep",): "No such command 'swep'",
    ("--version2",): "No such option",
    ("report",): "there are no runs in reports/: run sweep first",
    ("report", "absent"): "absent is not a run folder: it has no run.json",
    ("report", "file"): "file is not a run folder: it has no run.json",
    ("report", "garbled"): "cannot read garbled/run.json: ",
    ("report", "listed"): "cannot read listed/run.json: it holds no JSON object",
    ("merge",): "Missing argument 'RUN...'",
    ("merge", "absent"): "Missing option '--out'",
    ("merge", "absent", "--out", "new"): "absent is not a run folder: it has no run.json",
    ("merge", "garbled", "--out", "new"): "cannot read garbled/run.json: ",
    ("merge", "absent", "--out", "file"): "file is there already: name another folder with --out",
    ("compare", "absent", "absent"): "absent is not a run folder: it has no run.json",
    ("compare", "absent"): "compare takes two runs or more",
    ("compare", "absent", "absent", "--threshold", "much"): "'much' is not a valid float",
    ("list", "everything"): "'everything' is not one of 'models', 'executions', 'runtimes', 'su",
}
"""Other commands, and a part of the message."""


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_command(refused: Refuse, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "file").touch()
    for name, text in (("garbled", "{"), ("listed", "[]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
    assert COMMANDS[arguments] in refused(*arguments)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission(refused: Refuse, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    message = refused("sweep", "--suite", "smoke", "--out", "closed/run")
    assert message == "cannot write to closed/run: Permission denied"


REAL = {
    ("sweep", "--suite", "smoke", "--models", "seriel"): "did you mean 'serial'?",
    ("sweep", "--suite", "smoke", "--gpu", "0"): "sees no CUDA device; use --device cpu",
    ("sweep", "--suite", "smoke", "--plugin", "taken.py"): "model 'serial' is already registered",
    (
        "sweep",
        "--suite",
        "smoke",
        "--plugin",
        "dies.py",
    ): "plugins: the worker exited with code 1: gone",
    (
        "list",
        "models",
        "--plugin",
        "mumbles.py",
    ): "and the plugins: the worker exited with code 1: caf",
    ("sweep", "--suite", "smoke", "--out", "taken.py/run"): "cannot write to taken.py/run: Not a",
    ("sweep", "--suite", "broken.toml"): "suite broken.toml is not valid TOML: ",
    ("sweep", "--depth", "0"): "is not a comma list of whole numbers from 1 to 16384",
    ("list", "models", "--plugin", "absent.py"): "plugin absent.py does not exist or is no file",
    ("report", "absent"): "absent is not a run folder",
    ("nothing",): "No such command 'nothing'",
}
"""Commands run as users run them, and a part of the message."""


@pytest.mark.parametrize("arguments", REAL, ids=" ".join)
def test_real_process(
    files, refused_process: Refuse, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    register = "from paraformer_bench import register_model\nregister_model('serial')(print)\n"
    files.write(tmp_path / "taken.py", register)
    files.write(tmp_path / "dies.py", "import os, sys\nsys.stderr.write('gone\\n')\nos._exit(1)")
    files.write(tmp_path / "broken.toml", "[[grid]\n")
    mumbling = "import os\nos.write(2, b'caf\\xe9')\nos._exit(1)"  # bytes that are no text
    files.write(tmp_path / "mumbles.py", mumbling)
    assert REAL[arguments] in refused_process(*arguments)
