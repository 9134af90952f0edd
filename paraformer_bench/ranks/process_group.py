"""The process groups in which the ranks of a net talk to each other."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined, unused-ignore]

from paraformer_bench.executions._ranks import Ranks

_HOST = "127.0.0.1"
_FOR_EVER = timedelta(days=1)
"""A rank that hangs is found by the sweep, whose patience the suite sets; not by PyTorch."""


def open_store(ranks: int) -> TCPStore:
    """Open the store at which ranks meet, on a free port of the loopback interface alone."""
    with socket.create_server((_HOST, 0)) as listener:
        port = listener.getsockname()[1]
        return TCPStore(
            _HOST,
            port,
            ranks,
            is_master=True,
            timeout=_FOR_EVER,
            wait_for_workers=False,
            master_listen_fd=listener.detach(),
        )


def meet(port: int, ranks: int) -> TCPStore:
    """Connect to the store that rank 0 has opened on ``port``."""
    return TCPStore(_HOST, port, ranks, timeout=_FOR_EVER, wait_for_workers=False)


def join(store: Store, rank: int, sizes: Sequence[int], device: torch.device) -> dict[int, Ranks]:
    """Join the other ranks; all must do so, with the same numbers of ranks that run a net.

    The largest is that of all. Between GPUs it is NCCL that carries tensors, else gloo.

    Returns:
        By size, the first so many ranks as this one sees them. The sizes it has no part in
        are left out.
    """
    loopback = "lo"
    if sys.platform == "linux" and loopback in {name for _, name in socket.if_nameindex()}:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)  # nobody else need reach it
    backend = "nccl" if device.type == "cuda" else "gloo"
    largest = max(sizes)
    dist.init_process_group(backend, store=store, rank=rank, world_size=largest, timeout=_FOR_EVER)
    groups: dict[int, Any] = {
        size: dist.group.WORLD if size == largest else dist.new_group(range(size))
        for size in sorted(set(sizes))
    }
    ranks = {size: Ranks(rank, size, groups[size]) for size in groups if rank < size}
    for of_one_size in ranks.values():  # what is set up at the first sum is charged to no case
        of_one_size.sum(torch.zeros(1, device=device))
    return ranks
