from __future__ import annotations

import pytest

from paraformer_bench.study import wire
from paraformer_bench.study.job import (
    ANY,
    BlockJob,
    CalibrationJob,
    CeilingsJob,
    Job,
    ProfileJob,
    Protocol,
    RankJob,
    SurveyJob,
)
from tests.simulated import case_of, job_of

PROTOCOL = Protocol(3, 2, 0.5, 0.02, 30.0, 4.0)
GROUPS = [[case_of(1), case_of(2, model="paraformer")], [case_of(1, batch=8)]]


@pytest.mark.parametrize(
    "job",
    [
        BlockJob(
            device="cuda:1",
            plugins=["/a b.py"],
            block=4,
            protocol=PROTOCOL,
            seed=7,
            groups=GROUPS,
            first_order=5,
        ),
        ProfileJob(device="cpu", cases=GROUPS[0], folder="/a b", check=True),
        CeilingsJob(device="cpu", dtypes=("float32", "tf32")),
        CalibrationJob(device="cpu"),
        SurveyJob(plugins=["/p.py"]),
        RankJob(device="cuda:1", rank=1, sizes=[2], port=7, threads=3),
    ],
    ids=lambda job: type(job).__name__,
)
def test_a_job_crosses_the_pipe_unchanged(job: Job) -> None:
    line = wire.encode(job)
    assert b"\n" not in line
    assert wire.decoder(ANY).decode(line) == job


def test_without_what_is_done() -> None:
    job = job_of(GROUPS, first_order=3)
    assert job.without(set()) == job
    assert job.without({GROUPS[1][0].id, "another"}).groups == GROUPS[:1]
    assert job.without({GROUPS[0][0].id}).groups == [GROUPS[0][1:], GROUPS[1]]
    assert job.without({case.id for case in job.cases}).groups == []
