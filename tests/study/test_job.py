from __future__ import annotations

import json

from paraformer_bench.study.job import Job, Protocol


def test_job_crosses_the_pipe_unchanged(case_of) -> None:
    protocol = Protocol(3, 2, 0.5, 0.02, 30.0, 4.0)
    groups = [[case_of(1), case_of(2, model="paraformer")], [case_of(1, batch=8)]]
    job = Job(4, "cuda:1", protocol, 7, ["/a b.py"], groups, first_order=5)
    line = json.dumps(job.to_json())
    assert "\n" not in line
    assert Job.from_json(json.loads(line)) == job
