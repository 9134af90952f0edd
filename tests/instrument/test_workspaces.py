"""Which products are done, and where, before the memory of a case is looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from paraformer_bench.instrument import bench, memory
from paraformer_bench.instrument.device import Device
from paraformer_bench.instrument.memory import do_products, make_workspaces
from paraformer_bench.study.case import Case
from paraformer_bench.study.registry import EXECUTIONS, RUNTIMES, Registry, Warm

MakeCase = Callable[..., Case]
CPU = torch.device("cpu")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was asked for in order, on a GPU that is not there; "here" is the current stream."""
    log: list[object] = []
    place = ["here"]

    def warm_as(name: str) -> Warm:
        def warm(product: Callable[[], object], branches: int) -> None:
            place.append(f"{place[-1]}, {name} {branches}")
            product()
            place.pop()

        return warm

    def register(registry: Registry[Any], name: str) -> None:
        monkeypatch.setattr(registry, "_registered", dict(registry._registered))
        registry.register(name, devices=("cuda",), warm=warm_as(name))(lambda run, _: run)

    def note(dtype: torch.dtype, device: torch.device, *, train: bool) -> None:
        log.append((place[-1], dtype, train))

    EXECUTIONS.get("loop")  # its file registers it once
    RUNTIMES.get("eager")
    register(EXECUTIONS, "sideways")
    register(RUNTIMES, "elsewhere")
    monkeypatch.setattr(memory, "do_products", note)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: log.append("waits"))
    return log


def on_gpu(make_case: MakeCase, **fields: Any) -> Case:
    return make_case(device="cuda:0", **fields)


def test_products_are_done_wherever_the_case_will_do_some(
    log: list[object], make_case: MakeCase
) -> None:
    gpu = torch.device("cuda:0")
    make_workspaces(
        on_gpu(make_case, execution="sideways", runtime="elsewhere", depth=8, dtype="bfloat16"),
        gpu,
    )
    places = ["here", "here, sideways 8"]
    places += ["here, elsewhere 8", "here, elsewhere 8, sideways 8"]
    assert log == [*((place, torch.bfloat16, False) for place in places), "waits"]
    log.clear()
    make_workspaces(on_gpu(make_case, execution="sideways", dtype="tf32", mode="train"), gpu)
    places = ["here", "here, sideways 2"]  # one block may be two branches
    assert log == [*((place, torch.float32, True) for place in places), "waits"]


def test_it_is_done_before_every_mark(
    log: list[object], make_case: MakeCase, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "make_workspaces", lambda case, where: log.append("made"))
    monkeypatch.setattr(device.memory, "mark", lambda: log.append("marked"))
    with torch.inference_mode():
        for _ in range(2):
            bench.Builder(device, 0).prepare(make_case(), 0.0, {})
    assert log == ["made", "marked"] * 2


def test_a_cpu_keeps_no_workspaces(log: list[object], make_case: MakeCase) -> None:
    make_workspaces(make_case(execution="sideways"), CPU)
    assert log == []


class Names(TorchDispatchMode):
    """Names of the operations that were called."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        self.seen.append(str(func))
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_products_come_with_and_without_a_bias(dtype: torch.dtype) -> None:
    with torch.inference_mode(), Names() as names:
        do_products(dtype, CPU, train=False)
    products = [name for name in names.seen if "mm" in name]
    assert products == ["aten.addmm.default", "aten.mm.default"]


def test_training_products_have_a_backward_pass() -> None:
    with torch.inference_mode(False), Names() as names:
        do_products(torch.float32, CPU, train=True)
    assert names.seen.count("aten.mm.default") > 2
