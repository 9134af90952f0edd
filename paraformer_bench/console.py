"""Tables for the terminal."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from paraformer_bench.doctor import Finding
from paraformer_bench.study.calibration import Calibration
from paraformer_bench.study.ceilings import Ceilings
from paraformer_bench.study.registry import ModelTraits, Traits
from paraformer_bench.study.suite import known_suites, load_suite
from paraformer_bench.workers.ask import take_survey

if TYPE_CHECKING:
    from paraformer_bench.analysis.compare import Contrast

_COLOURS = {"SLOWER": "red", "FASTER": "green", "SAME": "", "UNCLEAR": "yellow"}


def print_catalogue(what: str | None, plugins: Iterable[Path]) -> None:
    """Print the table of one kind of name, or all of them."""
    console = _console()
    if what != "suites":
        survey = take_survey(plugins)
        if what in (None, "models"):
            console.print(_items("models", survey.models.values()))
            console.print(_costs(survey.models.values()))
        if what in (None, "executions"):
            console.print(_items("executions", survey.executions.values()))
        if what in (None, "runtimes"):
            console.print(_items("runtimes", survey.runtimes.values()))
    if what in (None, "suites"):
        console.print(_suites())


def print_contrasts(contrasts: Sequence[Contrast], letter: str, shift: str) -> None:
    """Print a run against A, the clear changes first, then what is unclear and why, in counts.

    Args:
        contrasts: One a case.
        letter: Of the run; B is the one after A.
        shift: What moved all of them, if something did.
    """
    table = Table("case", f"{letter} / A", "interval", "verdict")
    table.columns[0].overflow = "fold"
    order = ["SLOWER", "FASTER", "UNCLEAR", "SAME", "ONLY_A", "ONLY_B"]
    names = {verdict: verdict.replace("_B", f"_{letter}") for verdict in order}
    for contrast in sorted(contrasts, key=lambda c: order.index(c.verdict)):
        bounded = contrast.low is not None and contrast.high is not None
        table.add_row(
            Text(contrast.case_id),
            f"{contrast.ratio:.3f}" if contrast.ratio is not None else "-",
            f"{contrast.low:.3f} to {contrast.high:.3f}" if bounded else "-",
            Text(names[contrast.verdict], style=_COLOURS.get(contrast.verdict, "dim")),
        )
    console = _console()
    console.print(table)
    for reason, count in Counter(c.reason for c in contrasts if c.reason).most_common():
        console.print(Text(f"{count} unclear: {reason}"))
    if shift:
        console.print(Text(f"note: {shift}"), soft_wrap=True)
    verdicts = [contrast.verdict for contrast in contrasts]
    counts = ", ".join(f"{verdicts.count(v)} {names[v]}" for v in order if v in verdicts)
    console.print(f"{letter} against A: {counts or 'no case in common'}", highlight=False)


def print_findings(findings: Sequence[Finding], versions: Mapping[str, str]) -> None:
    """Print what the doctor saw, a line each, and the remedy under what is wrong."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(", ".join(f"{name} {version}" for name, version in versions.items())))
    for finding in findings:
        sign, style = ("ok ", "green") if finding.good else ("bad", "yellow")
        console.print(Text(sign, style), Text(finding.what))
        if finding.fix:
            console.print(Text(f"    fix: {finding.fix}"))
    bad = sum(not finding.good for finding in findings)
    console.print(
        f"{bad} {'thing' if bad == 1 else 'things'} would spoil a measurement"
        if bad
        else "ready to measure"
    )


def print_calibration(calibration: Calibration, warnings: Iterable[str]) -> None:
    """Print what each known delay was read as."""
    table = Table("delay", "time", "true", "measured", "difference", "", "within")
    for column in table.columns[2:6]:
        column.justify = "right"
    for reading in calibration.readings:
        table.add_row(
            f"{reading.asked_seconds * 1e6:,.0f} us",
            reading.basis,
            *(f"{s * 1e6:,.2f} us" for s in (reading.true_seconds, reading.measured_seconds)),
            f"{reading.difference * 1e6:+,.2f} us",
            f"{reading.share:+.2%}",
            "yes" if reading.within else "no",
        )
    if calibration.basis == "device":
        table.caption = "Wall time includes launching the delay and waiting for its end."
    console = _console()
    console.print(table)
    for warning in warnings:
        console.print(Text(f"warning: {warning}"), soft_wrap=True)


def print_ceilings(ceilings: Ceilings, warnings: Iterable[str]) -> None:
    """Print what the device can do at best: copies, products, and the costs of getting started."""
    console = _console()
    copies = Table("copy touches", "GB/s", title=ceilings.device_name)
    for copy in ceilings.copies:
        size = copy.footprint_bytes / 2**20
        copies.add_row(f"{size:,.4g} MiB", f"{copy.bytes_per_second / 1e9:,.1f}")
    products = Table("square product", *ceilings.dtypes)
    sizes = dict.fromkeys(product.flops for product in ceilings.products)
    rates = {(p.dtype, p.flops): p.flops / p.seconds for p in ceilings.products}
    for flops in sorted(sizes):
        cells = [rates.get((dtype, flops)) for dtype in ceilings.dtypes]
        row = ("-" if rate is None else f"{rate / 1e9:,.1f} GFLOP/s" for rate in cells)
        products.add_row(f"{flops / 1e6:,.3g} MFLOP", *row)
    for table in (copies, products):
        for column in table.columns:
            column.justify = "right"
        console.print(table)
    node = ceilings.node_seconds
    costs = [
        f"one eager launch {ceilings.launch_seconds * 1e6:.2f} us",
        f"one graph node {node * 1e6:.2f} us" if node is not None else "",
        f"one synchronisation {ceilings.sync_seconds * 1e6:.2f} us" if node is not None else "",
    ]
    console.print(", ".join(filter(None, costs)), highlight=False)
    for warning in warnings:
        console.print(Text(f"warning: {warning}"), soft_wrap=True)


def _console() -> Console:
    """A pipe has no width: give names all the room they need. Stdout may be closed too."""
    return Console() if sys.stdout and sys.stdout.isatty() else Console(width=160)


def _items(kind: str, items: Iterable[Traits]) -> Table:
    table = Table(kind, "what it is", "devices", "from", title_justify="left")
    table.columns[0].no_wrap = True  # a name cut short cannot be typed
    for item in items:
        source = "built in" if item.source.startswith("paraformer_bench.") else item.source
        summary = item.summary.replace("`", "")
        table.add_row(Text(item.name), Text(summary), ", ".join(item.devices), Text(source))
    return table


def _costs(models: Iterable[ModelTraits]) -> Table:
    table = Table("models", "span", "work", "parameters", caption_justify="left")
    table.caption = (
        "L: depth. k: branch depth. n: L / k. Span: blocks that wait for each other. F, B: "
        "operations and parameters of one block. b, t, d, h: batch, tokens, width, hidden units. "
        "Embedding and head come on top."
    )
    for model in models:
        formulas = astuple(model.cost) if model.cost else ("not stated",) * 3
        table.add_row(Text(model.name), *map(Text, formulas))
    return table


def _suites() -> Table:
    table = Table("suites", "grids", "blocks", "file")
    for name, path in sorted(known_suites().items()):
        suite = load_suite(name)
        table.add_row(
            Text(name), str(len(suite.grids)), str(suite.protocol.blocks), Text(path.name)
        )
    return table
