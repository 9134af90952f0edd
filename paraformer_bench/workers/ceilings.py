"""The probing process: measures the ceilings of one device.

Run as ``python -m paraformer_bench.workers.ceilings``, set up as a worker is. The job is one line
of JSON on stdin (see `CeilingsJob`); events are lines of JSON on stdout: ``measured`` with some
fields of `Ceilings` for each thing that was measured, then ``done``.
"""

from __future__ import annotations

import gc
import json
import sys
from dataclasses import asdict

import psutil
import torch

from paraformer_bench.instrument import ceilings, host_load
from paraformer_bench.instrument.device import Device, at_work
from paraformer_bench.instrument.telemetry import Reading
from paraformer_bench.study.ceilings import CeilingsJob
from paraformer_bench.workers.process import ParentGone, die_with_parent, take_stdout

_SHARE = 0.25
"""Share of the free memory that a copy may touch."""


def main() -> int:
    """Run the job on stdin.

    Returns:
        0 when it was done.
    """
    emit = take_stdout()
    die_with_parent()
    job = CeilingsJob.from_json(json.loads(sys.stdin.readline()))
    try:
        with at_work(job.device) as device:
            gc.freeze()
            where, clock = device.torch_device, device.clock
            watched: list[Reading] = []
            device.host.begin()
            costs = {
                "launch_seconds": ceilings.launch_seconds(where, clock),
                "node_seconds": ceilings.node_seconds(where, clock),
                "sync_seconds": ceilings.sync_seconds(where, clock),
            }
            emit({"event": "measured", "fields": costs})
            copies = ceilings.copies(where, clock, int(_SHARE * _free(device)))
            watched.append(device.host.read())
            emit({"event": "measured", "fields": {"copies": [asdict(one) for one in copies]}})
            device.host.begin()
            for some in ceilings.probe_products(where, clock, job.dtypes):
                products = [asdict(one) for one in some]
                watched.append(device.host.read())
                emit({"event": "measured", "fields": {"products": products}})
                device.host.begin()
            emit({"event": "measured", "fields": {"flags": host_load.flags(watched)}})
    except ParentGone:
        return 1
    emit({"event": "done"})
    return 0


def _free(device: Device) -> int:
    if device.torch_device.type == "cpu":
        return int(psutil.virtual_memory().available)
    return int(torch.cuda.mem_get_info(device.torch_device)[0])


if __name__ == "__main__":
    sys.exit(main())
