"""One step of training: what it changes, what it counts, and in which mode it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paraformer_bench.instrument import training
from paraformer_bench.instrument.bench import Builder, build_model, make_input
from paraformer_bench.instrument.counts import count
from paraformer_bench.instrument.device import Device, open_device
from paraformer_bench.instrument.gate import Mismatch
from paraformer_bench.instrument.training import (
    TrainingStep,
    draw_labels,
    make_step,
    mean_loss,
    recording,
)
from paraformer_bench.study.case import Case
from paraformer_bench.study.cost import block_flops, fixed_flops
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.registry import EXECUTIONS, MODELS, Registry

MakeCase = Callable[..., Case]
CPU = torch.device("cpu")

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")  # vmap, on a CPU


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """As the worker runs."""
    with torch.inference_mode():
        yield


@pytest.fixture
def register() -> Iterator[Callable[..., None]]:
    """Register something for one test."""
    added: list[tuple[Registry[Any], str]] = []

    def register(registry: Registry[Any], name: str, factory: Any) -> None:
        registry.register(name)(factory)
        added.append((registry, name))

    yield register
    for registry, name in added:
        del registry._registered[name]


@pytest.fixture
def train_case(make_case: MakeCase) -> MakeCase:
    return lambda **fields: make_case(**{"mode": "train"} | fields)


def step_of(case: Case) -> tuple[TrainingStep, nn.Module, Tensor]:
    """The step of a case, its model and a batch; call under `recording`."""
    model, x = build_model(case, CPU), make_input(case, CPU, 0)
    execution = EXECUTIONS.get(case.execution).factory
    return make_step(model, execution, x, case.scope), model, x


@pytest.mark.parametrize("scope", ["whole", "trunk"])
@pytest.mark.parametrize("execution", ["stacked", "vmap"])
def test_steps_change_all_weights_as_under_the_loop(
    train_case: MakeCase, monkeypatch: pytest.MonkeyPatch, execution: str, scope: str
) -> None:
    monkeypatch.setattr(training, "LEARNING_RATE", 1e-2)
    case = train_case(model="paraformer", depth=3, batch=3, dtype="float64", scope=scope)
    with recording():
        step, loop, x = step_of(case)
        other, moved, _ = step_of(case.replace(execution=execution))
        before = [parameter.detach().clone() for parameter in loop.parameters()]
        losses = [float(step(x)) for _ in range(3)]
        assert losses == pytest.approx([float(other(x)) for _ in range(3)], rel=1e-9)
        assert losses[2] < losses[1] < losses[0]
        for old, one, two in zip(before, loop.parameters(), moved.parameters(), strict=True):
            assert float((one.detach() - old).abs().max()) > 1e-3
            # A gradient of pure rounding has a sign of its own in each, and Adam takes the sign.
            assert float((one - two).detach().abs().mean()) < 1e-3 * float(
                (one.detach() - old).abs().mean()
            )


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_no_step_moves_a_weight(train_case: MakeCase, dtype: str) -> None:
    with recording():
        step, model, x = step_of(train_case(model="paraformer", depth=2, dtype=dtype))
        before = [parameter.detach().clone() for parameter in model.parameters()]
        losses = {float(step(x)) for _ in range(4)}
        assert len(losses) == 1
        for old, parameter in zip(before, model.parameters(), strict=True):
            assert torch.allclose(old, parameter, rtol=0, atol=1e-15)


def test_every_weight_has_moments_and_a_gradient_of_the_last_step_alone(
    train_case: MakeCase,
) -> None:
    with recording():
        step, model, x = step_of(train_case(model="paraformer", execution="stacked", depth=2))
        step(x)
        leaves = training.trained(model)
        first = [leaf.grad.clone() for leaf in leaves if leaf.grad is not None]
        assert len(first) == len(leaves)
        step(x)
        assert all(torch.equal(g, leaf.grad) for g, leaf in zip(first, leaves, strict=True))
        state = step._optimizer.state
        assert {id(leaf) for leaf in leaves} == {id(leaf) for leaf in state}
        for leaf in leaves:
            assert int(state[leaf]["step"]) == 2
            assert state[leaf]["exp_avg_sq"].shape == leaf.shape
            assert bool(state[leaf]["exp_avg_sq"].any())


def test_the_loss_has_no_history_and_is_that_before_the_step(train_case: MakeCase) -> None:
    with recording():
        step, model, x = step_of(train_case(batch=3))
        expected = mean_loss(model(x), draw_labels(model, x, "whole"))
        loss = step(x)
        assert not loss.requires_grad
        assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-6)
        assert x.grad is None


@pytest.mark.parametrize("scope", ["whole", "trunk"])
def test_a_trunk_passes_a_gradient_on_to_where_the_embedding_would_be(
    train_case: MakeCase, scope: str
) -> None:
    seen: list[Tensor] = []
    with recording():
        case = train_case(scope=scope)
        model, x = build_model(case, CPU), make_input(case, CPU, 0)
        model.register_forward_hook(lambda model, args, out: seen.append(args[0]))
        step = make_step(model, lambda model, example: model, x, scope)
        seen.clear()
        step(x)
    assert (seen[0].grad is not None) == (scope == "trunk")
    assert x.grad is None
    assert not x.requires_grad


def test_losses() -> None:
    scores, labels = torch.randn(5, 7), torch.randint(7, (5,))
    by_hand = -scores.log_softmax(1)[range(5), labels].mean()
    assert float(mean_loss(scores, labels)) == pytest.approx(float(by_hand), rel=1e-6)
    assert float(mean_loss(scores, None)) == pytest.approx(float((scores**2).mean()), rel=1e-6)
    assert mean_loss(scores.bfloat16(), labels).dtype == torch.float32
    assert mean_loss(scores.double(), None).dtype == torch.float64


def test_labels_are_always_the_same_and_come_from_no_global_generator() -> None:
    model, x = nn.Linear(3, 1000), torch.randn(64, 3)
    torch.manual_seed(3)
    expected = torch.randn(2)
    torch.manual_seed(3)
    labels = draw_labels(model, x, "whole")
    assert torch.equal(torch.randn(2), expected)
    assert labels is not None
    assert labels.shape == (64,)
    assert 500 < int(labels.max()) < 1000
    assert len(labels.unique()) > 32
    assert torch.equal(labels, draw_labels(model, x + 1, "whole"))
    assert draw_labels(model, x, "trunk") is None


@pytest.mark.parametrize("output", [lambda x: x, lambda x: x[0, 0].int(), lambda x: "scores"])
def test_what_is_no_scores_has_no_labels(output: Callable[[Tensor], Any]) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return output(x)

    with pytest.raises(Unsupported, match=r"scores \(batch, classes\)"):
        draw_labels(Odd(), torch.randn(2, 3, 4, 4), "whole")


def test_an_execution_that_leaves_nothing_to_train_is_declined(train_case: MakeCase) -> None:
    case = train_case(scope="trunk")
    with recording():
        model, x = build_model(case, CPU), make_input(case, CPU, 0)
        with pytest.raises(Unsupported, match="leaves no parameters to train"):
            make_step(model, lambda m, x: m.requires_grad_(False), x, "trunk")


def test_what_has_no_parameters_cannot_be_trained(
    train_case: MakeCase, device: Device, register: Callable[..., None]
) -> None:
    class Mean(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3))

    register(MODELS, "mean", lambda spec: Mean())
    with pytest.raises(Unsupported, match="no parameters to train"):
        Builder(device, 0).prepare(train_case(model="mean"), 1.0, {})


def test_float16_is_not_trained(train_case: MakeCase, device: Device) -> None:
    with pytest.raises(Unsupported, match="float16 needs a loss scaler"):
        Builder(device, 0).prepare(train_case(dtype="float16"), 1.0, {})


def test_modes_do_not_leak_from_case_to_case(
    make_case: MakeCase, device: Device, register: Callable[..., None]
) -> None:
    seen: list[tuple[bool, bool]] = []

    class Watched(nn.Linear):
        def forward(self, images: Tensor) -> Tensor:
            seen.append((torch.is_inference_mode_enabled(), self.weight.requires_grad))
            return super().forward(images.mean((2, 3)))

    register(MODELS, "watched", lambda spec: Watched(3, 7))
    benches = {}
    for mode in ("inference", "train", "inference"):
        seen.clear()
        bench = Builder(device, 0).prepare(make_case(model="watched", mode=mode), 1.0, {})
        benches[mode] = bench
        assert set(seen) == {(mode == "inference", mode == "train")}
        assert torch.is_inference_mode_enabled()
    # Samples are taken later, under the worker's inference mode, in any order.
    for mode in ("train", "inference", "train"):
        output = benches[mode].call()
        assert isinstance(output, Tensor)
        assert output.is_inference() == (mode == "inference")
        assert output.shape == (() if mode == "train" else (1, 7))
        assert torch.is_inference_mode_enabled()
    again = Builder(device, 0).rebuild(make_case(model="watched", mode="train")).call()
    first = benches["train"].call()
    assert isinstance(again, Tensor)
    assert isinstance(first, Tensor)
    assert torch.equal(again, first)


def test_what_loads_on_first_use_is_loaded_before_memory_is_marked(
    make_case: MakeCase, device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks: list[int] = []
    monkeypatch.setattr(training, "_load", lambda where: marks.append(device.memory.marks))
    Builder(device, 0).prepare(make_case(), 1.0, {})
    assert marks == []
    Builder(device, 0).prepare(make_case(mode="train"), 1.0, {})
    assert marks == [1]
    assert device.memory.marks == 2


def test_a_wrong_gradient_is_never_timed(
    train_case: MakeCase, device: Any, clock: Any, register: Callable[..., None]
) -> None:
    def forgetful(model: nn.Module, example: Tensor) -> Callable[[Tensor], Tensor]:
        """The right output; one branch's weights are not in the backward pass."""
        model.get_submodule("trunk").branches[1].requires_grad_(False)
        return model

    register(EXECUTIONS, "forgetful", forgetful)
    case = train_case(model="paraformer", depth=2, execution="forgetful")
    with pytest.raises(Mismatch, match=r"^gradient of trunk\.branches\.1\..* relative error 1 "):
        Builder(device, 0).prepare(case, 1.0, {})
    assert clock.calls == 0
    # What is wrong only in the backward pass is right in inference.
    Builder(device, 0).prepare(case.replace(mode="inference"), 1.0, {})


@pytest.mark.parametrize("execution", ["loop", "stacked", "vmap"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_the_facts_of_a_trained_case(
    train_case: MakeCase, make_case: MakeCase, device: Device, execution: str, dtype: str
) -> None:
    fields = {"model": "paraformer", "execution": execution, "depth": 4, "dtype": dtype}
    trained = Builder(device, 0).prepare(train_case(**fields), 1.0, {}).facts
    inferred = Builder(device, 0).prepare(make_case(**fields), 1.0, {}).facts
    assert trained.parameter_bytes == inferred.parameter_bytes
    assert trained.operations > 3 * inferred.operations
    with recording():
        step, _, x = step_of(train_case(**fields))
        step(x)  # the optimiser makes its state at the first one
        assert trained.operations == count(step, x).operations
    assert trained.relative_error < {"float32": 1e-5, "bfloat16": 0.05, "float64": 1e-13}[dtype]
    assert trained.warmup_calls == 10


@pytest.mark.parametrize("execution", ["loop", "stacked", "vmap"])
@pytest.mark.parametrize("scope", ["whole", "trunk"])
@pytest.mark.parametrize("branch_depth", [1, 2])
def test_the_arithmetic_of_a_step(
    train_case: MakeCase, execution: str, scope: str, branch_depth: int
) -> None:
    """Each product has two in the backward pass; attention has five for its two.

    Images need no gradient, so that the patches' product has one only.
    """
    case = train_case(
        model="paraformer",
        execution=execution,
        depth=4,
        batch=2,
        scope=scope,
        branch_depth=branch_depth,
    )
    spec, batch = case.spec, case.batch
    attention = 4 * batch * 4 * spec.tokens**2 * spec.width
    products = 4 * block_flops(spec, batch) - attention
    expected = 3 * products + attention * 7 // 2
    if scope == "whole":
        head = 2 * batch * spec.width * spec.classes
        expected += 3 * head + 2 * (fixed_flops(spec, batch) - head)
    with recording():
        step, _, x = step_of(case)
        assert count(step, x).flops == expected


def test_operations_of_stacked_do_not_grow_with_depth_in_training(train_case: MakeCase) -> None:
    found = {}
    for execution in ("loop", "stacked"):
        for depth in (2, 8):
            with recording():
                case = train_case(model="paraformer", execution=execution, depth=depth)
                step, _, x = step_of(case)
                step(x)  # the optimiser makes its state at the first one
                found[execution, depth] = count(step, x).operations
    assert found["stacked", 2] == found["stacked", 8]
    assert found["loop", 8] > 3 * found["loop", 2]


def test_peak_memory_covers_gradients_and_the_state_of_the_optimiser(make_case: MakeCase) -> None:
    """Weights, gradients and two moments: four times the parameters, and little beyond.

    The activations of five tokens are nothing beside them.
    """
    device = open_device("cpu")
    fields: dict[str, Any] = {"model": "paraformer", "depth": 4, "width": 512, "heads": 8}
    Builder(device, 0).prepare(make_case(mode="train"), 0.0, {})
    ratios = {}
    for mode in ("inference", "train"):
        case = make_case(mode=mode, execution="stacked", **fields)
        facts = Builder(device, 0).prepare(case, 0.0, {}).facts
        ratios[mode] = facts.peak_bytes / facts.parameter_bytes
    assert 0.9 < ratios["inference"] < 2
    assert 3.9 < ratios["train"] < 6.5
