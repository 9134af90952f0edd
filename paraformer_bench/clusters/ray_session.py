"""A connection to a Ray cluster, or a cluster on this machine, for as long as a command runs."""

from __future__ import annotations

import contextlib
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

from paraformer_bench.clusters.ray_cluster import RayCluster, Say, first_line
from paraformer_bench.study import child
from paraformer_bench.study.errors import UsageError

_EXTRA = "--launcher ray needs Ray: pip install 'paraformer-bench[ray]'"
_KNOCK_SECONDS = 10.0


@contextmanager
def connect(address: str | None, part: str | None, say: Say) -> Iterator[RayCluster]:
    """Connect to the cluster at ``address``, or start one on this machine that ends with us.

    Args:
        address: As `ray.init` takes it: ``ray://HOST:10001``, ``HOST:6379`` or ``auto``.
        part: Use only nodes whose host or device name contains this.
        say: Receives warnings.

    Raises:
        UsageError: Ray is not installed, or there is no cluster.
    """
    ray = _load_ray()
    if address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")  # workers as they are without Ray
    local = {"include_dashboard": False} if address is None else {}
    doing = f"connect to Ray at {address}" if address else "start Ray"
    try:
        if address is not None:
            _knock(address)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong is in the error
            ray.init(
                address=address or "local",
                runtime_env={"py_modules": [str(Path(child.ROOT, "paraformer_bench"))]},
                log_to_driver=False,
                logging_level="ERROR",
                **local,
            )
    except Exception as error:  # Ray raises whatever its parts do
        raise UsageError(f"cannot {doing}: {first_line(error)}") from None
    try:
        with contextlib.closing(RayCluster(ray, part, say)) as cluster:
            yield cluster
    finally:
        ray.shutdown()


def _load_ray() -> ModuleType:
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise UsageError(_EXTRA) from None
    module: ModuleType = ray
    return module


def _knock(address: str) -> None:
    """Check that somebody listens at ``HOST:PORT``: Ray would try for minutes.

    Raises:
        OSError: Nobody does.
        ValueError: The port is no number.
    """
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname and parts.port:
        socket.create_connection((parts.hostname, parts.port), timeout=_KNOCK_SECONDS).close()
