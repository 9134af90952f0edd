from __future__ import annotations

import pytest

from paraformer_bench.study import job, wire
from paraformer_bench.study.case import Case

CASE = Case.of(
    model="serial",
    execution="loop",
    runtime="eager",
    depth=1,
    width=64,
    batch=1,
    image=64,
    patch=16,
    heads=1,
    branch_depth=1,
    dtype="float32",
    device="cpu",
)


def case(depth: int, **fields: object) -> Case:
    return CASE.replace(depth=depth, **fields)


JOBS: list[job.Job] = [
    job.BlockJob(
        block=4,
        device="cuda:1",
        protocol=job.Protocol(3, 2, 0.5, 0.02, 30.0, 4.0),
        seed=7,
        plugins=["/a b.py"],
        groups=[[case(1), case(2, model="paraformer")], [case(1, execution="vmap")]],
        first_order=5,
    ),
    job.ProfileJob(device="cpu", cases=[case(3)], folder="a/traces", check=True, seconds=0.25),
    job.CeilingsJob(device="cpu", dtypes=("float32", "bfloat16")),
    job.CalibrationJob(device="cuda:1", seconds=2.0),
    job.SurveyJob(plugins=["/p.py"]),
    job.RankJob(device="cuda:1", rank=1, sizes=[2, 4], port=1234, threads=2),
]


@pytest.mark.parametrize("sent", JOBS, ids=lambda sent: type(sent).__name__)
def test_a_job_crosses_the_pipe_unchanged(sent: job.Job) -> None:
    line = wire.encode(sent)
    assert b"\n" not in line
    assert wire.decode(line, job.ANY) == sent


def test_without_what_is_done() -> None:
    groups = [[case(1), case(2)], [case(4)]]
    whole = job.BlockJob(block=0, protocol=job.Protocol(), seed=0, groups=groups, first_order=3)
    assert whole.without(set()) == whole
    assert whole.without({case(4).id, "another"}).groups == groups[:1]
    assert whole.without({case(1).id}).groups == [[case(2)], [case(4)]]
    assert whole.without({one.id for one in whole.cases}).groups == []
