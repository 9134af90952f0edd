from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from paraformer_bench.analysis.claim import Verdict, judge
from paraformer_bench.analysis.words import (
    answer,
    controls_of,
    deciding,
    sentences,
)
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import ModelFacts, RunInfo
from paraformer_bench.study.words import factor

Curve = Callable[..., list[Record]]
SERIAL = {"model": "serial", "execution": "loop"}
WOBBLE = (0.99, 1.0, 1.01)


def rising(factor: float, depths: Sequence[int] = (1, 16)) -> dict[int, list[float]]:
    """The deepest time is ``factor`` times all others."""
    return {d: [w * (factor if d == depths[-1] else 1) for w in WOBBLE] for d in depths}


OPEN = {1: [1.0, 1.0, 1.0], 16: [0.9, 1.05, 1.2]}


def test_one_growing_curve_and_its_serial_twin(make_curve: Curve) -> None:
    verdicts = judge(make_curve(rising(14.9), **SERIAL) + make_curve(rising(9.8)))
    info = RunInfo(environment={"devices": {"cpu": "AMD EPYC, 2 cores"}})
    assert sentences(verdicts, info) == [
        "On cpu (AMD EPYC, 2 cores): inference time is not constant with depth: paraformer under "
        "stacked/eager grows 9.8x from depth 1 to 16 (constant up to 1); serial under loop/eager "
        "grows 14.9x from depth 1 to 16 (constant up to 1)."
    ]


@pytest.mark.parametrize(
    ("curve", "said"),
    [
        (rising(1.0), "is constant with depth: paraformer under stacked/eager stays constant up "
         "to depth 16."),
        (OPEN, "is not settled yet: paraformer under stacked/eager is undecided (constant up to "
         "1)."),
    ],
)  # fmt: skip
def test_one_curve(make_curve: Curve, curve: dict[int, list[float]], said: str) -> None:
    assert sentences(judge(make_curve(curve)), RunInfo()) == [f"On cpu: inference time {said}"]


def test_curves_of_one_method_are_counted(make_curve: Curve) -> None:
    curves = [rising(1.0), rising(1.0, (1, 64)), rising(2.0), rising(3.0, (1, 32)), OPEN]
    records = [r for k, curve in enumerate(curves) for r in make_curve(curve, batch=k + 1)]
    (sentence,) = sentences(judge(records), RunInfo())
    assert sentence == (
        "On cpu: inference time is constant with depth for some curves only: 2 of 5 curves of "
        "paraformer under stacked/eager stay constant up to depth 16-64, 2 grow 2x to 3x by "
        "depth 16-32, 1 is undecided."
    )


def test_growth_beside_doubt_is_not_called_constant_for_some(make_curve: Curve) -> None:
    serial = make_curve(rising(1.0), **SERIAL)
    records = serial + make_curve(rising(2.0)) + make_curve(OPEN, batch=3)
    (sentence,) = sentences(judge(records), RunInfo())
    assert "time grows with depth for some curves, the others are undecided:" in sentence
    assert "for some curves only" not in sentence


def test_a_sentence_for_each_device(make_curve: Curve) -> None:
    records = make_curve(rising(2.0)) + make_curve(rising(1.0), device="cuda:0")
    info = RunInfo(environment={"devices": {"cuda:0": "NVIDIA H200"}})
    cpu, gpu = sentences(judge(records), info)
    assert cpu.startswith("On cpu: inference time is not constant")
    assert gpu.startswith("On cuda:0 (NVIDIA H200): inference time is constant")
    assert sentences([], info) == []


def test_inference_and_training_have_a_sentence_each(make_curve: Curve) -> None:
    records = make_curve(rising(1.0)) + make_curve(rising(2.0), mode="train")
    inference, training = sentences(judge(records), RunInfo())
    assert inference == (
        "On cpu: inference time is constant with depth: paraformer under stacked/eager stays "
        "constant up to depth 16."
    )
    assert training.startswith("On cpu: training time is not constant with depth: paraformer")


def test_serial_alone_says_nothing_about_the_claim(make_curve: Curve) -> None:
    (sentence,) = sentences(judge(make_curve(rising(2.0), **SERIAL)), RunInfo())
    assert sentence.startswith("On cpu: no parallel net was timed: serial under loop/eager grows")


def test_forty_curves_stay_readable(make_curve: Curve) -> None:
    records = []
    methods = [("loop", "eager"), ("stacked", "eager"), ("stacked", "graph"), ("vmap", "compile")]
    for k in range(8):
        records += make_curve(rising(2.0 + k), batch=k + 1, **SERIAL)
        for n, (execution, runtime) in enumerate(methods):
            truth = (rising(1.0), rising(1.3 + n), OPEN)[(k + n) % 3]
            records += make_curve(truth, batch=k + 1, execution=execution, runtime=runtime)
    verdicts = judge(records)
    assert len(verdicts) == 40
    info = RunInfo(environment={"devices": {"cpu": "AMD EPYC 7B13 64-Core Processor, 2 cores"}})
    (sentence,) = sentences(verdicts, info)
    assert len(sentence.split()) <= 60
    assert "of 32 curves of paraformer" in sentence
    assert "all 8 curves of serial grow 2x to 9x by depth 16" in sentence
    assert sentence.count("constant with depth for some curves only") == 1


def test_device_time_decides_and_the_wall_clock_may_differ(make_curve: Curve) -> None:
    agreed = make_curve(rising(1.0), rising(1.0))
    differing = make_curve(rising(2.0), rising(1.0), batch=3)
    verdicts = judge(agreed + differing)
    assert [verdict.basis for verdict in deciding(verdicts)] == ["device", "device"]
    assert deciding(verdicts[::-1])[0].basis == "device"
    assert answer(verdicts) == "supported"
    (sentence,) = sentences(verdicts, RunInfo())
    assert sentence.endswith("; by wall clock 1 of 2 read otherwise.")
    (sentence,) = sentences(judge(agreed), RunInfo())
    assert "wall clock" not in sentence


def test_answer(make_curve: Curve) -> None:
    def verdicts(*curves: dict[int, list[float]]) -> list[Verdict]:
        records = make_curve(rising(16.0), **SERIAL)
        for k, curve in enumerate(curves):
            records += make_curve(curve, batch=k + 1)
        return judge(records)

    constant, grows = rising(1.0), rising(2.0)
    assert answer(verdicts(constant, constant)) == "supported"
    assert answer(verdicts(grows, grows)) == "refuted"
    assert answer(verdicts(OPEN, OPEN)) == "undecided"
    assert answer(verdicts()) == "undecided"
    assert answer(verdicts(constant, grows)) == "mixed"
    assert answer(verdicts(constant, OPEN)) == "mixed"
    assert answer(verdicts(grows, OPEN)) == "mixed"


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(1.0, "1x"), (1.234, "1.23x"), (14.94, "14.9x"), (999.4, "999x"), (1234.5, "1234x")],
)
def test_ratios_in_words(ratio: float, text: str) -> None:
    assert factor(ratio) == text


def test_controls_do_not_answer_for_the_claim(make_curve: Curve) -> None:
    """A net that is constant by construction does not support it, whatever else is true."""
    flat, grows = rising(1.0), rising(3.0)
    records = [
        *make_curve(flat, model="truncated", execution="loop"),
        *make_curve(grows, **SERIAL),
        *make_curve(grows),
    ]
    info = RunInfo(models={"truncated": ModelFacts(control=True), "paraformer": ModelFacts()})
    (sentence,) = sentences(judge(records), info)
    assert sentence.startswith(
        "On cpu: inference time is not constant with depth: paraformer under stacked/eager grows"
    )
    assert "truncated under loop/eager stays constant up to depth 16" in sentence
    assert controls_of(info) == {"serial", "truncated"}
    assert answer(judge(records), controls_of(info)) == "refuted"
    assert answer(judge(records)) == "mixed"


def test_a_run_that_does_not_say_has_serial_as_its_control() -> None:
    assert controls_of(RunInfo()) == {"serial"}
    assert controls_of(RunInfo(models={"wide": ModelFacts()})) == {"serial"}


@pytest.mark.parametrize(
    ("ends", "found"),
    [
        ("mismatch", "undecided"),
        ("error", "undecided"),
        ("timeout", "undecided"),
        ("oom", "supported"),
        ("skipped", "supported"),
    ],
)
def test_what_deeper_nets_end_as_counts(make_curve: Curve, ends: str, found: str) -> None:
    verdicts = judge(make_curve(rising(1.0, (1, 2)) | {4: [ends] * 3, 8: [ends] * 3}))
    [verdict] = verdicts
    assert (verdict.verdict, verdict.constant_up_to) == ("constant", 2)
    assert answer(verdicts) == found
    (sentence,) = sentences(verdicts, RunInfo())
    assert sentence.endswith(f"up to depth 2, without depth 4 ({ends}), 8 ({ends}).") or (
        sentence.endswith(f"(constant up to 2), without depth 4 ({ends}), 8 ({ends}).")
    )


def test_a_curve_that_grows_does_so_whatever_is_lost(make_curve: Curve) -> None:
    assert answer(judge(make_curve(rising(2.0) | {32: ["error"] * 3}))) == "refuted"
