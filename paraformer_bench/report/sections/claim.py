"""The claim: what a serial net and a parallel one are, and why time may not grow."""

from __future__ import annotations

from paraformer_bench.report.data import ReportData
from paraformer_bench.report.page import Section, render_template

ORDER = 20


def sections(data: ReportData) -> list[Section]:
    """Return the section, the same on every page."""
    words = render_template("claim.html.j2")
    return [Section("claim", "The claim", [words], "The claim")]
