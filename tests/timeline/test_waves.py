from __future__ import annotations

from typing import Any

import pytest

from paraformer_bench.timeline.metrics import examine, resident_blocks

H100: dict[str, Any] = {
    "computeMajor": 9,
    "computeMinor": 0,
    "maxThreadsPerMultiprocessor": 2048,
    "warpSize": 32,
    "regsPerMultiprocessor": 65536,
    "sharedMemPerMultiprocessor": 233472,
}


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "blocks"),
    [
        (1024, 16, 0, 2),  # threads
        (128, 90, 0, 5),  # 65,536 registers, 12 × 256 for each of four warps
        (128, 90, 49152, 4),  # 233,472 bytes, 1,024 more for each block
        (32, 16, 0, 32),  # blocks
        (33, 255, 0, 4),  # two warps of 8,192 registers each
        (1024, 255, 0, 1),  # it did run
    ],
)
def test_resident_blocks(threads: int, registers: int, shared: int, blocks: int) -> None:
    assert resident_blocks(threads, registers, shared, H100) == blocks


def test_older_devices_hold_fewer_blocks() -> None:
    device = H100 | {"computeMajor": 8, "computeMinor": 6}
    assert resident_blocks(32, 16, 0, device) == 16


def test_what_is_not_known_is_none() -> None:
    for name in H100:
        assert resident_blocks(32, 16, 0, {key: H100[key] for key in H100 if key != name}) is None
    assert resident_blocks(0, 16, 0, H100) is None


def test_a_kernel_without_blocks_makes_no_mean(builder: Any) -> None:
    def fill(step: int) -> None:
        for number, blocks in enumerate((1.5, float("inf"))):
            builder.call(number, 1_000, 2_000)
            builder.kernel(number, 5_000 + 1_000 * number, 6_000 + 1_000 * number, blocks=blocks)

    timeline = examine(builder.steps(fill).write()).timeline
    assert timeline.blocks_per_sm is timeline.waves is None
    assert "every kernel" in timeline.null_reasons["blocks_per_sm"]
