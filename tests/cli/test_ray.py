"""The command line on a real cluster: two nodes' worth of Ray on this machine.

Every command and every wait has a limit, and all that was started is gone in the end.
"""

from __future__ import annotations

import contextlib
import json
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from paraformer_bench.study.run_folder import JOURNAL, RECORDS, RUN, read_lines
from paraformer_bench.study.timelines import ENDING

ray = pytest.importorskip("ray", reason="needs the extra 'ray', which is not installed")

from ray.cluster_utils import Cluster  # noqa: E402

pytestmark = pytest.mark.slow

SUITE = """
[protocol]
blocks = {blocks}
rounds = 1
seconds_per_case = 0.02
target_relative_error = 0.5

[[grid]]
models = {models}
executions = ["loop", "stacked"]
runtimes = ["eager", "graph"]
depth = [1, 2]
width = 64
tokens = 17
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without work and two nodes that measure."""
    # Ray notes the current cluster here, wherever its own folder is, and does not make this one.
    Path(tempfile.gettempdir(), "ray").mkdir(exist_ok=True)
    # Sockets lie in this folder, and their paths must not be long.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as temp:
        head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": temp}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            cluster.add_node(num_cpus=1)
            cluster.add_node(num_cpus=1)
            yield cluster
        finally:
            started = psutil.Process().children(recursive=True)
            cluster.shutdown()
            assert started
            _, alive = psutil.wait_procs(started, timeout=20)
            for process in alive:
                process.kill()
    assert alive == []


@pytest.fixture
def suite(files: Any, tmp_path: Path):
    def write(blocks: int, *models: str) -> Path:
        return files.write(
            tmp_path / "tiny.toml", SUITE.format(blocks=blocks, models=json.dumps(models))
        )

    return write


def every(run: Path, blocks: int) -> set[tuple[str, int]]:
    """Return each case of the run in each block."""
    ids = {json.loads(line)["case_id"] for line in read_lines(run / RECORDS)}
    return {(case_id, block) for case_id in ids for block in range(blocks)}


def where(run: Path) -> dict[int, set[str]]:
    """Return the nodes that measured each block."""
    found: dict[int, set[str]] = {}
    for line in map(json.loads, read_lines(run / RECORDS)):
        if machine := line["telemetry"].get("machine"):
            found.setdefault(line["block"], set()).add(machine["node"])
    return found


def test_two_nodes_measure_what_one_machine_would(
    cluster: Cluster, cli: Any, files: Any, suite: Any, tmp_path: Path
) -> None:
    arguments = ["--suite", suite(2, "serial", "paraformer"), "--device", "cpu"]
    there = ["--launcher", "ray", "--ray-address", cluster.address]
    result = cli("sweep", *arguments, *there, "--out", tmp_path / "run", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "blocks at once: 2, on " in result.stdout
    here = cli("sweep", *arguments, "--profile", "none", "--out", tmp_path / "here", cwd=tmp_path)
    assert here.returncode == 0, here.stderr
    records = files.records(tmp_path / "run")
    assert {r.key for r in records} == {r.key for r in files.records(tmp_path / "here")}
    assert len({r.key for r in records}) == len(records) == 2 * 12
    assert {r.status for r in records} == {"ok", "skipped"}
    nodes = where(tmp_path / "run")
    assert sorted(map(len, nodes.values())) == [1, 1], "a block is one process on one node"
    assert nodes[0] != nodes[1]
    info = json.loads((tmp_path / "run" / RUN).read_text())
    assert {m["node"] for m in info["machines"]} == nodes[0] | nodes[1]
    assert (
        info["identity"]["cases"]
        == json.loads((tmp_path / "here" / RUN).read_text())["identity"]["cases"]
    )
    traces = list((tmp_path / "run" / "traces").glob(f"*/*{ENDING}"))
    assert len(traces) == len(info["profiles"]) == 6


def test_lost_node_loses_nothing(
    cluster: Cluster, cli: Any, files: Any, suite: Any, held: Any, tmp_path: Path
) -> None:
    """A third node joins, is killed in the middle of a block, and the block goes on elsewhere."""
    doomed = cluster.add_node(num_cpus=1)
    held.gate.touch()  # while it is there, no block can come to its end
    run = tmp_path / "run"
    process = cli.start(
        *("sweep", "--suite", suite(3, "serial", "held"), "--plugin", held.plugin),
        *("--profile", "none", "--launcher", "ray", "--ray-address", cluster.address),
        *("--out", run),
        cwd=tmp_path,
    )
    cli.wait_until(process, lambda: doomed.node_id in at_work(run))
    cluster.remove_node(doomed, allow_graceful=False)
    held.gate.unlink()
    output, errors = process.communicate(timeout=100)
    assert (process.returncode, errors) == (0, ""), output
    records = files.records(run)
    assert len(records) == 3 * 8
    assert {r.key for r in records} == every(run, 3)
    assert {r.status for r in records} == {"ok", "skipped"}
    again = [nodes for nodes in where(run).values() if len(nodes) > 1]
    assert all(doomed.node_id in nodes for nodes in again)
    assert all(nodes != {doomed.node_id} for nodes in where(run).values())


def test_ctrl_c_leaves_a_run_that_can_be_resumed(
    cluster: Cluster, cli: Any, files: Any, suite: Any, held: Any, tmp_path: Path
) -> None:
    held.gate.touch()
    run = tmp_path / "run"
    process = cli.start(
        *("sweep", "--suite", suite(2, "serial", "held"), "--plugin", held.plugin),
        *("--profile", "none", "--launcher", "ray", "--ray-address", cluster.address),
        *("--out", run),
        cwd=tmp_path,
    )
    cli.wait_until(process, held.held.exists)
    # Those of the cluster, whose processes are all descendants of this one.
    workers = [p for p in psutil.Process().children(recursive=True) if is_worker(p)]
    assert workers
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, ""), output
    assert f"interrupted; resume with: python -m paraformer_bench sweep --resume --out {run}" in (
        output
    )
    assert not (run / JOURNAL).exists()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == [], "tasks are cancelled, and their children with them"
    before = {record.key for record in files.records(run)}
    held.gate.unlink()
    result = cli("sweep", "--resume", "--out", run, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    records = files.records(run)
    assert len(records) == len({r.key for r in records}) == 2 * 8
    assert before <= {r.key for r in records} == every(run, 2)


def at_work(run: Path) -> set[str]:
    """Return the nodes on which a case has been prepared, as the journal tells."""
    lines = [line for line in read_lines(run / JOURNAL) if line.endswith(b"\n")]
    return {json.loads(line)["machine"]["node"] for line in lines}


def is_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
        return {"paraformer_bench.workers", "block"} <= set(process.cmdline())
    return False
