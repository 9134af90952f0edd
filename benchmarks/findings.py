"""What is true of the claim, on one page: every number is worked out from committed runs.

Run as ``python -m benchmarks.findings --out docs/findings.md``. Written are the page and, beside
it, ``images/findings-time.svg`` and ``images/findings-line.svg``. The runs are those of the suites
``sizes-cpu``, ``standard-cpu`` and ``controls``; with other folders the same page tells of another
machine.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import jinja2
import matplotlib as mpl
import matplotlib.pyplot as plt

from paraformer_bench.analysis.claim import Verdict, verdict_file
from paraformer_bench.analysis.curve import CONSTANT
from paraformer_bench.analysis.latency_model import Prediction, predict
from paraformer_bench.analysis.roofline import cases_with_floors
from paraformer_bench.report.figures import style
from paraformer_bench.study import words
from paraformer_bench.study.case import Case, Curve, Method, Regime
from paraformer_bench.study.run_folder import Run, read_run

TEMPLATE = Path(__file__).with_name("findings.md.j2")
SERIAL, LOOP, STACKED = METHODS = (
    ("serial", "loop"),
    ("paraformer", "loop"),
    ("paraformer", "stacked"),
)
NAMES = {
    SERIAL: "serial",
    LOOP: "Para-Former, the authors' loop",
    STACKED: "Para-Former, stacked",
}


@dataclass(frozen=True)
class MeasuredCurve:
    """A method at one size, by ascending depth.

    Attributes:
        verdict: What was measured, on wall time.
        seconds: Of a call, by depth.
        peak: Bytes of a call, by depth.
        predicted: Deepest depth to which the latency model expects it to be constant; null
            without a model.
        errors: Predicted over measured time, less 1, at the depths that the fit had not seen.
    """

    verdict: Verdict
    seconds: dict[int, float]
    peak: dict[int, float]
    predicted: int | None
    errors: tuple[float, ...]

    @property
    def deepest(self) -> int:
        """The deepest depth with a time."""
        return max(self.seconds)

    def growth(self, depth: int) -> float:
        """Time at a depth over that of the shallowest."""
        return self.seconds[depth] / self.seconds[min(self.seconds)]


@dataclass(frozen=True)
class Size:
    """One step of the ladder.

    Attributes:
        case: One of its cases, for the shape.
        flops: Arithmetic of one more block, in one call.
        curves: By model and execution.
    """

    case: Case
    flops: float
    curves: dict[tuple[str, str], MeasuredCurve]

    @property
    def constant(self) -> bool:
        """Whether the stacked net is constant at every depth measured."""
        return self.curves[STACKED].verdict.verdict == CONSTANT

    def speedup(self, depth: int) -> float:
        """Time of the serial net over that of the stacked Para-Former."""
        return self.curves[SERIAL].seconds[depth] / self.curves[STACKED].seconds[depth]

    @property
    def deepest(self) -> int:
        """The deepest depth that all its curves share."""
        return min(curve.deepest for curve in self.curves.values())


def sizes(run: Run) -> list[Size]:
    """Return the ladder of a run, smallest nets first: every shape with all of `METHODS`.

    Only whole nets of batch 1 in float32 under ``eager`` count.
    """
    verdicts = verdict_file(run)
    predictions = predict(run, verdicts)
    predicted = {p.verdict.curve_id: p for p in predictions if p.verdict.basis == "wall"}
    table = cases_with_floors(run)
    found: dict[tuple[int, int], dict[tuple[str, str], MeasuredCurve]] = {}
    shapes: dict[tuple[int, int], tuple[Case, float]] = {}
    by_curve = {record.case.curve_id: record.case for record in run.records}
    for verdict in verdicts:
        case = by_curve[verdict.curve_id]
        depth = case.regime.branch_depth
        plain = (case.batch, case.dtype, case.runtime, case.mode, case.scope, depth)
        if verdict.basis != "wall" or plain != (1, "float32", "eager", "inference", "whole", 1):
            continue
        held = table[(table["curve_id"] == verdict.curve_id) & (table["wall"] > 0)]
        held = held.sort_values("depth")
        shape = case.spec.width, case.spec.tokens
        key = case.model, case.execution
        found.setdefault(shape, {})[key] = _curve(verdict, held, predicted.get(verdict.curve_id))
        if key == SERIAL:
            first, last = held.iloc[0], held.iloc[-1]
            rise = (last["flops"] - first["flops"]) / (last["depth"] - first["depth"])
            shapes[shape] = case, float(rise)
    whole = [
        Size(*shapes[shape], {key: curves[key] for key in METHODS})
        for shape, curves in found.items()
        if curves.keys() >= set(METHODS)
    ]
    return sorted(whole, key=lambda size: size.flops)


def _curve(verdict: Verdict, held: Any, prediction: Prediction | None) -> MeasuredCurve:
    model = prediction.model if prediction else None
    unseen = [step for step in model.steps if not step.fitted] if model else []
    return MeasuredCurve(
        verdict,
        dict(zip(map(int, held["depth"]), held["wall"], strict=True)),
        dict(zip(map(int, held["depth"]), held["peak_bytes"], strict=True)),
        model.constant_up_to if model else None,
        tuple(step.error for step in unseen if step.error is not None),
    )


@dataclass(frozen=True)
class Control:
    """A net of the run of controls, at its deepest depth.

    Attributes:
        name: Model and execution.
        depth: Blocks in the net.
        steps: Blocks that wait for each other in a branch.
        growth: Time over that of its shallowest depth; null if that has no time.
        serial: Time over that of the serial net of this depth.
    """

    name: str
    depth: int
    steps: int
    growth: float
    serial: float
    verdict: str


def controls(run: Run) -> list[Control]:
    """Return every net of a run beside the serial one, at the deepest depth they share.

    Ends here if the run holds no serial net, or several.
    """
    table = cases_with_floors(run)
    timed = table[(table["wall"] > 0) & (table["runtime"] == "eager")]
    serial = timed[timed["model"] == "serial"].set_index("depth")["wall"]
    if serial.empty or not serial.index.is_unique:
        raise SystemExit("the run of controls must hold one curve of the serial net")
    judged = {v.curve_id: v for v in verdict_file(run) if v.basis == "wall"}
    rows = []
    for curve_id, held in timed.groupby("curve_id", sort=False):
        by_depth = held.set_index("depth")["wall"]
        depth = int(max(by_depth.index.intersection(serial.index)))
        first = held.iloc[0]
        rows.append(
            Control(
                f"`{first['model']}`, {first['execution']}",
                depth,
                int(first["branch_depth"]),
                float(by_depth[depth] / by_depth[by_depth.index.min()]),
                float(by_depth[depth] / serial[depth]),
                judged[str(curve_id)].verdict,
            )
        )
    return sorted(rows, key=lambda row: (row.steps, row.serial))


def draw_times(ladder: Sequence[Size], path: Path) -> None:
    """Draw time against depth for the smallest, the middle and the largest net."""
    shown = [ladder[0], ladder[len(ladder) // 2], ladder[-1]]
    with _figure(path, len(shown), (9.2, 3.5)) as panels:
        for panel, size in zip(panels, shown, strict=True):
            for key, curve in size.curves.items():
                look = _looks()[key]
                times = [1e3 * seconds for seconds in curve.seconds.values()]
                panel.plot(list(curve.seconds), times, color=look.colour, marker=look.marker,
                           ms=5, lw=1.6, label=NAMES[key])  # fmt: skip
            stacked = size.curves[STACKED]
            least = 1e3 * min(stacked.seconds.values())
            panel.axhspan(
                least, (1 + stacked.verdict.margin) * least, color=style.GRID, lw=0,
                label="constant, for the stacked one",
            )  # fmt: skip
            _depths(panel, list(stacked.seconds))
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
            _plain(panel.yaxis, lambda ms: f"{ms:g}")
            panel.set_title(f"{shape_of(size)}\n{flops_text(size.flops)} a block", fontsize=10)
        panels[0].set_ylabel("time of a call (ms)")
        panels[0].figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, ncols=4,
                                loc="outside lower center", fontsize=9)  # fmt: skip


def draw_line(ladder: Sequence[Size], depth: int, path: Path) -> None:
    """Draw how much longer a deep net takes than one block, against the work of a block."""
    with _figure(path, 1, (6.6, 3.6)) as [panel]:
        for key in METHODS:
            look = _looks()[key]
            panel.plot(
                [size.flops for size in ladder],
                [size.curves[key].growth(depth) for size in ladder],
                color=look.colour, marker=look.marker, ms=5, lw=1.6, label=NAMES[key],
            )  # fmt: skip
        panel.axhspan(1, 1 + ladder[0].curves[STACKED].verdict.margin, color=style.GRID, lw=0)
        panel.axhline(depth, color=style.MUTED, lw=1, ls=":")
        panel.text(ladder[0].flops, depth * 1.08, f"{depth} times the work", color=style.MUTED)
        panel.set(xscale="log", xlabel="arithmetic of one block",
                  ylabel=f"time at depth {depth} over depth 1")  # fmt: skip
        panel.set_yscale("log", base=2)
        _plain(panel.xaxis, lambda flops: flops_text(flops).replace(".00", "").replace(".0", ""))
        _plain(panel.yaxis, lambda times: f"{times:g}×")
        panel.legend(frameon=False, loc="lower right", fontsize=9)


@contextmanager
def _figure(path: Path, panels: int, inches: tuple[float, float]) -> Iterator[Any]:
    with style.drawing():
        figure, axes = plt.subplots(1, panels, figsize=inches, layout="constrained", squeeze=False)
        for panel in axes[0]:
            panel.grid(axis="y")
            for spine in ("top", "right"):
                panel.spines[spine].set_visible(False)
        yield axes[0]
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)


def _depths(panel: Any, depths: Sequence[int]) -> None:
    panel.set_xscale("log", base=2)
    panel.set_xticks(depths, [str(depth) for depth in depths])
    panel.set_xlabel("depth L")


def _plain(axis: Any, text: Callable[[float], str]) -> None:
    """Write ticks as people do: Matplotlib's powers of ten need its own typesetting."""
    axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: text(value)))
    axis.set_minor_locator(mpl.ticker.NullLocator())


def _looks() -> dict[tuple[str, str], style.Look]:
    nowhere = Regime((), 1, "float32", "cpu")
    curves = {key: Curve(Method(*key, "eager"), nowhere) for key in METHODS}
    looks = style.looks(curves.values())
    return {key: looks[curve.label] for key, curve in curves.items()}


def shape_of(size: Size) -> str:
    """Name a size for people."""
    return f"width {size.case.spec.width}, {size.case.spec.tokens} tokens"


def flops_text(flops: float) -> str:
    """Return arithmetic as ``31 kFLOP`` or ``1.7 MFLOP``."""
    for unit, name in ((1e9, "G"), (1e6, "M")):
        if flops >= unit:
            return f"{words.short(flops / unit)} {name}FLOP"
    return f"{words.short(flops / 1e3)} kFLOP"


def _listed(values: Iterable[int] | Iterable[str]) -> str:
    *most, last = map(str, sorted(values))
    return f"{', '.join(most)} and {last}" if most else last


def page(ladder: Sequence[Size], star: Run, rows: Sequence[Control], **facts: object) -> str:
    """Return the page as Markdown."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )  # Markdown: nothing to escape
    environment.globals.update(
        time=words.time, short=words.short, shape=shape_of, flops=flops_text, mib=words.MIB
    )
    parallel = [v for v in verdict_file(star) if v.basis == "wall" and v.model != "serial"]
    regimes = [verdict.curve.regime for verdict in parallel]
    unseen = [abs(e) for size in ladder for curve in size.curves.values() for e in curve.errors]
    return environment.from_string(TEMPLATE.read_text("utf-8")).render(
        ladder=ladder,
        parallel=parallel,
        widths=_listed({regime.get("width") for regime in regimes}),
        batches=_listed({regime.batch for regime in regimes}),
        dtypes=_listed({regime.dtype for regime in regimes}),
        scopes=_listed({regime.scope for regime in regimes}),
        controls=rows,
        error=words.percent(round(median(unseen), 3)) if unseen else None,
        serial=SERIAL,
        loop=LOOP,
        stacked=STACKED,
        **facts,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=Path, default=Path("reports/sizes-cpu"))
    parser.add_argument("--star", type=Path, default=Path("reports/standard-cpu"))
    parser.add_argument("--controls", type=Path, default=Path("reports/controls-cpu"))
    parser.add_argument("--out", type=Path, default=Path("docs/findings.md"))
    options = parser.parse_args()
    run, star, control = (read_run(p) for p in (options.sizes, options.star, options.controls))
    ladder = sizes(run)
    depth = min(size.deepest for size in ladder)
    images = options.out.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    draw_times(ladder, images / "findings-time.svg")
    draw_line(ladder, depth, images / "findings-line.svg")
    case = run.records[0].case
    places = {
        name: os.path.relpath(getattr(options, name), options.out.parent)
        for name in ("sizes", "star", "controls")
    }
    text = page(
        ladder,
        star,
        controls(control),
        depth=depth,
        device=run.info.device_names[case.device],
        margin=words.percent(ladder[0].curves[STACKED].verdict.margin),
        places=places,
    )
    options.out.write_text(text, encoding="utf-8")
    print(f"{options.out}: {len(ladder)} sizes, {len(run.records)} records")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
