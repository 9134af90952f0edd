"""What a page can be narrowed down to: the lines and regimes in it, for its script."""

from __future__ import annotations

import json
from collections.abc import Mapping

from paraformer_bench.report.regimes import Regime
from paraformer_bench.report.series import Line
from paraformer_bench.report.style import Look


def filters(looks: Mapping[Line, Look], regimes: Mapping[str, Regime]) -> dict[str, str]:
    """Return JSON texts: ``lines`` by their numbers, ``regimes`` by theirs.

    What the script reads of them are the values that a reader may choose. Elements of the page say
    with ``data-line`` and ``data-regime`` what they are about.
    """
    lines = [
        {"model": line.model, "execution": line.execution, "runtime": line.runtime}
        for line, look in sorted(looks.items(), key=lambda item: item[1].number)
    ]
    ordered = sorted(regimes.values(), key=lambda regime: regime.number)
    places = [dict(regime.fields) for regime in ordered]
    return {"lines": json.dumps(lines), "regimes": json.dumps(places)}
