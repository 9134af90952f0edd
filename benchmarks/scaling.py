"""As many devices as branches: what the latency model and a measured all-reduce say of it.

Run as ``python -m benchmarks.scaling RUN --out docs/scaling.md``. The run must hold ceilings, the
curves of `serial` (loop) and `paraformer` (stacked) on one device, and `sharded` on two
devices or more, as suite ``devices`` measures them. Written are the page and, beside it,
``images/scaling.svg``.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import jinja2
import matplotlib as mpl
import matplotlib.pyplot as plt

from paraformer_bench.analysis.claim import judge
from paraformer_bench.analysis.latency_model import Model, Prediction, predict, seconds_of
from paraformer_bench.analysis.outlook import between, reach
from paraformer_bench.study import words
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import Run, read_run

MOST_DEVICES = 1024
TEMPLATE = Path(__file__).with_name("scaling.md.j2")


@dataclass(frozen=True)
class Row:
    """A number of devices, under one way of summing.

    Attributes:
        devices: N.
        talk: Seconds in which the ranks send the input around and sum.
        single: Seconds of a call with one branch a device.
        slower: That over the time of one branch on one device, without any sum.
        up_to: Deepest net whose time is within the margin of that of the shallowest on so many.
        time: Seconds of a call at that depth.
        speedup: Time of the serial net there, on one device, over it.
    """

    devices: int
    talk: float
    single: float
    slower: float
    up_to: int
    time: float
    speedup: float


def step_seconds(talks: Mapping[int, float]) -> float:
    """Return the cost of one step: a least-squares line through 0 of talk over log2 of devices."""
    pairs = [(math.log2(devices), seconds) for devices, seconds in talks.items()]
    return sum(x * y for x, y in pairs) / sum(x * x for x, _ in pairs)


def tree(devices: int, step: float) -> float:
    """Steps of recursive doubling: as many as the logarithm of the devices, rounded up."""
    return step * math.ceil(math.log2(devices)) if devices > 1 else 0.0


def ring(devices: int, step: float) -> float:
    """Steps of a ring: from each device to the next and back again, which is what a step is."""
    return step * (devices - 1)


def row(devices: int, talk: float, parallel: Model, serial: Model, margin: float) -> Row:
    """Predict a number of devices: every device has its share of the branches, rounded up."""
    alone = seconds_of(between(parallel.demands, 1), parallel.scales)
    share, _ = reach(parallel.demands, parallel.scales, margin, besides=talk)
    time = seconds_of(between(parallel.demands, share), parallel.scales) + talk
    up_to = share * devices
    rival = seconds_of(between(serial.demands, up_to), serial.scales)
    return Row(devices, talk, alone + talk, (alone + talk) / alone, up_to, time, rival / time)


def table(step: float, parallel: Model, serial: Model, margin: float) -> dict[str, list[Row]]:
    """Return the rows of both ways of summing."""
    counts = [2**k for k in range(MOST_DEVICES.bit_length())]
    return {
        name: [row(n, cost(n, step), parallel, serial, margin) for n in counts]
        for name, cost in (("tree", tree), ("ring", ring))
    }


def talks_of(records: Sequence[Record]) -> dict[int, float]:
    """Return number of devices -> median seconds that the ranks of `sharded` spend talking."""
    seen: dict[int, list[float]] = {}
    for record in records:
        ranks = record.telemetry.get("ranks") or {}
        if record.case.execution == "sharded" and ranks.get("communication_seconds"):
            seen.setdefault(record.case.devices, []).append(ranks["communication_seconds"])
    return {devices: median(seconds) for devices, seconds in sorted(seen.items())}


def only(predictions: Sequence[Prediction], model: str, execution: str) -> Model:
    """Return the model of a curve on one device; ends here if there is not exactly one."""
    found = [
        p.model
        for p in predictions
        if (p.verdict.model, p.verdict.execution, p.verdict.devices) == (model, execution, 1)
        and p.model is not None
        and p.verdict.basis == "wall"
    ]
    if len(found) != 1:
        raise SystemExit(f"the run must hold one modelled curve of {model} {execution}, eager")
    return found[0]


def draw(rows: Mapping[str, Sequence[Row]], path: Path) -> None:
    """Draw time against devices with one branch on each, and without any sum."""
    grey = "#7a828e"
    with mpl.rc_context({"svg.hashsalt": "scaling", "svg.fonttype": "none", "font.size": 10}):
        figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
        for name, style in (("tree", "-o"), ("ring", "--s")):
            counts = [one.devices for one in rows[name]]
            times = [one.single * 1e3 for one in rows[name]]
            axes.plot(counts, times, style, ms=4, label=f"summed in a {name}")
        alone = rows["tree"][0].single * 1e3
        axes.axhspan(alone, 1.1 * alone, color=grey, alpha=0.25, lw=0, label="one branch, +10%")
        axes.set(
            xscale="log", yscale="log", xlabel="devices = branches", ylabel="time per call (ms)"
        )
        axes.set_xscale("log", base=2)
        axes.set_xticks([one.devices for one in rows["tree"]][::2])
        axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
        for spine in ("top", "right"):
            axes.spines[spine].set_visible(False)
        axes.legend(frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)


def page(run: Run, rows: Mapping[str, Sequence[Row]], **facts: object) -> str:
    """Return the page as Markdown."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )  # Markdown: nothing to escape
    environment.globals.update(time=words.time, short=words.short)
    template = environment.from_string(TEMPLATE.read_text("utf-8"))
    within = {name: max(r.devices for r in held if r.slower < 1.1) for name, held in rows.items()}
    return template.render(run=run, rows=rows, within=within, **facts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/scaling.md"))
    options = parser.parse_args()
    run = read_run(options.run)
    verdicts = judge(run.records)
    predictions = predict(run, verdicts)
    talks = talks_of(run.records)
    if not talks:
        raise SystemExit("no record says how long its ranks talked: measure sharded on 2 devices")
    parallel, serial = (
        only(predictions, *who) for who in (("paraformer", "stacked"), ("serial", "loop"))
    )
    step = step_seconds(talks)
    rows = table(step, parallel, serial, verdicts[0].margin)
    case = next(r.case for r in run.records if r.case.execution == "sharded")
    images = options.out.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    draw(rows, images / "scaling.svg")
    text = page(
        run,
        rows,
        talks=talks,
        step=step,
        case=case,
        place=os.path.relpath(options.run, options.out.parent),
        device=run.info.device_names[case.device],
        margin=words.percent(verdicts[0].margin),
        errors=[words.percent(round(m.error, 3)) if m.error else "–" for m in (parallel, serial)],
    )
    options.out.write_text(text, encoding="utf-8")
    print(f"{options.out}: a step takes {words.time(step)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
