"""Run folders made of synthetic records whose truth is known."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from paraformer_bench.study.case import Case
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import RECORDS, RUN

METHODS: dict[tuple[str, str, str], Callable[[int], float]] = {
    ("serial", "loop", "eager"): lambda depth: 1.0 * depth,
    ("paraformer", "loop", "eager"): lambda depth: 1.05 * depth,
    ("paraformer", "stacked", "eager"): lambda depth: 1.1,
}
"""Milliseconds against depth: two nets that grow, one that does not."""


def make_case(**fields: Any) -> Case:
    base = {
        "model": "serial",
        "execution": "loop",
        "runtime": "eager",
        "depth": 1,
        "width": 192,
        "batch": 1,
        "image": 224,
        "patch": 16,
        "branch_depth": 1,
        "dtype": "float32",
        "device": "cpu",
    }
    merged = base | fields
    return Case.of(**({"heads": merged["width"] // 64} | merged))


def make_curve(
    seconds: Callable[[int], float],
    depths: Iterable[int] = (1, 2, 4, 8),
    blocks: int = 4,
    lost: Mapping[int, tuple[str, str]] | None = None,
    gpu: bool = False,
    **fields: Any,
) -> list[Record]:
    """One curve; ``lost`` maps depths to the status and reason they end with."""
    records = []
    for block in range(blocks):
        shared = random.Random(f"block {block}").gauss(1, 0.05)
        for depth in depths:
            case = make_case(depth=depth, **fields)
            if lost and depth in lost:
                status, reason = lost[depth]
                records.append(
                    Record(case=case, block=block, order=0, status=status, reason=reason)
                )
                continue
            noise = random.Random(ascii(f"{case.id} {block}"))
            times = [seconds(depth) * shared * noise.gauss(1, 0.01) for _ in range(5)]
            weights = depth * 12 * case.spec.width**2 * 4
            records.append(
                Record(
                    case=case,
                    block=block,
                    order=0,
                    status="ok",
                    wall_seconds=[t * 1.2 + 2e-5 for t in times] if gpu else times,
                    device_seconds=times if gpu else None,
                    rounds=[5],
                    peak_bytes=weights + 2**20 * (10 + case.batch),
                    parameter_bytes=weights,
                )
            )
    return records


def make_study(depths: Iterable[int] = (1, 2, 4, 8), **fields: Any) -> list[Record]:
    """Every method of `METHODS` under one regime."""
    return [
        record
        for (model, execution, runtime), milliseconds in METHODS.items()
        for record in make_curve(
            lambda depth, ms=milliseconds: ms(depth) / 1e3,
            tuple(depths),
            **({"model": model, "execution": execution, "runtime": runtime} | fields),
        )
    ]


def make_info(**fields: Any) -> dict[str, Any]:
    info = {
        "version": 1,
        "name": "20251123-201300-quick-cpu",
        "suite": {
            "name": "quick",
            "claim": {"margin": 0.1, "confidence": 0.95},
            "protocol": {"blocks": 4, "seconds_per_case": 0.75, "timeout_seconds": 120.0},
            "grid": [{"models": ["serial", "paraformer"], "depth": [1, 2, 4, 8], "width": [192]}],
        },
        "command": ["python", "-m", "paraformer_bench", "sweep", "--out", "a b"],
        "started": "2025-11-23T20:13:00+00:00",
        "finished": "2025-11-23T20:16:12+00:00",
        "device": "cpu",
        "commit": "0123456789abcdef0123456789abcdef01234567+changes",
        "environment": {
            "devices": {"cpu": "AMD EPYC 7B13, 2 cores", "cuda:0": "NVIDIA H200"},
            "host": {"system": "Linux 6.1", "cores": 2, "load": [0.3, 0.2, 0.1]},
        },
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "plugins": [],
        "efficiency": {"wall_seconds": 192.0, "busy_seconds": 171.0, "share": 0.8906},
    }
    return info | fields


def write_run(
    folder: Path, records: Iterable[Record], info: Mapping[str, Any] | None = None
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RUN).write_text(json.dumps(make_info() if info is None else info), "utf-8")
    lines = "".join(json.dumps(_plain(record)) + "\n" for record in records)
    (folder / RECORDS).write_text(lines, "utf-8")
    return folder


def _plain(record: Record) -> Any:
    """As `Record.line`, with text that no UTF-8 can hold."""
    return msgspec.to_builtins(record, enc_hook=Case.flat) | {"case_id": record.case.id}


class Page(HTMLParser):
    """What a browser would see of a page: text, ids, links, and the source of each drawing."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text("utf-8")
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.svgs = re.findall(r"<svg.*?</svg>", self.source, re.DOTALL)
        self._raw = ""
        self.feed(self.source)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.tags.append((tag, named))
        if "id" in named:
            self.ids.append(named["id"])
        self._raw = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._raw = ""

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.words.append(data)


class Maker:
    """The functions above, for tests: conftest files are not imported."""

    case = staticmethod(make_case)
    curve = staticmethod(make_curve)
    study = staticmethod(make_study)
    info = staticmethod(make_info)
    run = staticmethod(write_run)
    page = Page


@pytest.fixture(scope="session")
def make() -> type[Maker]:
    return Maker
