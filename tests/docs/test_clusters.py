"""The Slurm scripts of the page, run by bash under commands that play Slurm, with a real sweep."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from paraformer_bench.study.run_folder import PAGE, RECORDS, read_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash"),
]

TEXT = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")
SCRIPTS = dict(re.findall(r"as `(\w+\.sbatch)`:\n\n```bash\n(.*?)```", TEXT, re.DOTALL))
[SUBMIT] = re.findall(r"Then:\n\n```sh\n(.*?)```", TEXT, re.DOTALL)
BY_HAND = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)[0]

SUITE = """
[protocol]
blocks = 5
rounds = 2
seconds_per_case = 0.02
target_relative_error = 0.5

[[grid]]
models = ["serial", "paraformer"]
depth = [1, 2]
width = 64
tokens = 17
"""

# Runs every task of an array at once, one after the other, as the directives in the script say.
SBATCH = """#!/bin/bash
set -eu
echo "$@" >> sbatch.log
array=
while [[ $1 == --* ]]; do
    case $1 in
        --parsable) ;;
        --dependency=afterany:17) ;;
        --array=*) array=${1#--array=} ;;
        *) exit 64 ;;
    esac
    shift
done
directive() { sed -n "s/^#SBATCH --$1=//p" "$script"; }
script=$1
array=${array:-$(directive array)}
export SLURM_CPUS_PER_TASK=$(directive cpus-per-task)
if [ -z "$array" ]; then
    bash "$@" >> merge.log 2>&1
else
    for task in $(seq "${array%-*}" "${array#*-}"); do
        SLURM_ARRAY_TASK_ID=$task bash "$@" >> "task-$task.log" 2>&1 || echo "$task: $?" >> codes
    done
fi
echo 17
"""
SRUN = '#!/bin/bash\n[ "$1" = --cpus-per-task=8 ] || exit 64\nshift\nexec "$@"\n'
PYTHON = f'#!/bin/bash\nexec "{sys.executable}" "$@"\n'


@pytest.fixture(scope="module")
def cluster(cli, state: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts of the page, a small suite, and a bin/ with Slurm's commands."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "small.toml").write_text(SUITE)
    for name, script in SCRIPTS.items():
        (folder / name).write_text(script)
    (folder / "bin").mkdir()
    for name, script in (("sbatch", SBATCH), ("srun", SRUN), ("python", PYTHON)):
        path = folder / "bin" / name
        path.write_text(script)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return folder


def bash(script: str, folder: Path) -> None:
    """Run a script as somebody at the prompt of that cluster would."""
    root = Path(__file__).parents[2]
    environment = os.environ | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(root),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def submitted(cluster: Path) -> Path:
    """The folder after the commands of the page, with a smaller suite and no GPU."""
    assert SUBMIT.count("--suite standard --gpu 0") == 1
    options = "--suite small.toml --device cpu"
    submit = SUBMIT.replace("--suite standard --gpu 0", options)
    bash(submit + 'echo "$name" > name\n', cluster)
    return cluster


def log(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob("*.log")))


def test_array_and_merge_make_a_run(cli, submitted: Path) -> None:
    name = (submitted / "name").read_text().strip()
    assert not (submitted / "codes").exists(), log(submitted)
    run = read_run(submitted / "reports" / name)
    assert run.warnings == []
    keys = [record.key for record in run.records]
    cases = {case_id for case_id, _ in keys}
    assert len(cases) == 4
    assert sorted(keys) == sorted((case_id, b) for case_id in cases for b in range(5))
    assert {record.status for record in run.records} == {"ok"}
    assert run.info.finished is not None, log(submitted)
    assert [part.shard.number for part in run.info.parts] == [1, 2, 3, 4]
    traced = [path.parent.name for path in (run.folder / "traces").glob("*/*")]
    assert sorted(traced) == sorted(cases)  # the ends of two curves of two depths, each once
    assert {case_id for case_id, p in run.info.profiles.items() if p.file} == cases
    assert "shard 4 of 4" in (run.folder / PAGE).read_text()
    assert (submitted / "reports" / PAGE).exists()
    again = cli("report", f"reports/{name}", cwd=submitted)
    assert again.returncode == 0, again.stderr


def test_task_that_is_run_again_goes_on(submitted: Path) -> None:
    name = (submitted / "name").read_text().strip()
    path = submitted / "shards" / name / "3" / RECORDS
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])  # its last record was lost
    bash(f"sbatch --array=3 shards.sbatch {name} --suite small.toml --device cpu", submitted)
    assert not (submitted / "codes").exists(), log(submitted)
    assert len(path.read_bytes().splitlines()) == len(whole.splitlines())
    assert path.read_bytes() != whole  # one case was measured again


def test_array_is_as_long_as_the_shards() -> None:
    script = SCRIPTS["shards.sbatch"]
    [last] = re.findall(r"#SBATCH --array=1-(\d+)", script)
    assert re.findall(r"^shards=(\d+) ", script, re.MULTILINE) == [last]


def test_commands_by_hand_are_read_as_they_stand(cli, cluster: Path) -> None:
    *sweeps, merge = BY_HAND.splitlines()
    assert len(sweeps) == 4
    for number, line in enumerate(sweeps, start=1):
        python, option, package, *arguments = line.split()
        assert (python, option, package) == ("python", "-m", "paraformer_bench")
        assert f"--shard {number}/4" in line
        assert arguments[-1] == f"shards/standard/{number}"
    result = cli(*sweeps[1].split()[3:], "--device", "cpu", "--dry-run", cwd=cluster)
    assert result.returncode == 0, result.stderr
    assert "shard 2 of 4: " in result.stdout
    assert merge.endswith(" merge shards/standard/* --out reports/standard")
