"""Measuring the ceilings of one device."""

from __future__ import annotations

import psutil
import torch

from paraformer_bench.instrument import ceilings, meters
from paraformer_bench.instrument.device import Device
from paraformer_bench.study.ceilings import Limits, Product
from paraformer_bench.study.events import Measured
from paraformer_bench.study.job import CeilingsJob
from paraformer_bench.workers.process import Reporter

_SHARE = 0.25
"""Share of the free memory that a copy may touch."""


def run(job: CeilingsJob, emit: Reporter, device: Device) -> None:
    """Measure copies, products, and what it costs to get started."""
    where, clock, host = device.torch_device, device.clock, device.host
    readings: list[meters.Reading] = []
    host.begin()
    launch = ceilings.launch_seconds(where, clock)
    node = ceilings.node_seconds(where, clock)
    sync = ceilings.sync_seconds(where, clock)
    copies = ceilings.copies(where, clock, int(_SHARE * _free(device)))
    readings.append(host.read())
    host.begin()
    products: list[Product] = []
    for of_one_size in ceilings.probe_products(where, clock, job.dtypes):
        products += of_one_size
        readings.append(host.read())
        host.begin()
    limits = Limits(
        copies=tuple(copies),
        products=tuple(products),
        launch_seconds=launch,
        node_seconds=node,
        sync_seconds=sync,
        flags=tuple(meters.flags(readings)),
    )
    emit(Measured(limits=limits))


def _free(device: Device) -> int:
    if device.torch_device.type == "cpu":
        return int(psutil.virtual_memory().available)
    return int(torch.cuda.mem_get_info(device.torch_device)[0])
