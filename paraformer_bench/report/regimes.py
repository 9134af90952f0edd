"""Words for the conditions under which curves are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from paraformer_bench.analysis.words import mode_word
from paraformer_bench.report import units
from paraformer_bench.study.case import HEAD_WIDTH

_SEPARATOR = " · "


@dataclass(frozen=True)
class Regime:
    """One group of cases that are compared with each other.

    Attributes:
        group: `Case.group`.
        short: What tells it from the other regimes of the run; everything if it is the only one.
        full: All of its conditions.
        fields: The conditions by name, as text.
        number: Among the regimes of the page. Its elements say with it what they are about: unlike
            names, numbers survive any reader of HTML as they are.
    """

    group: str
    short: str
    full: str
    fields: Mapping[str, str] = field(default_factory=dict)
    number: int = 0


def regimes(cases: pd.DataFrame) -> dict[str, Regime]:
    """Return every regime of a case table by its group, in the order of the table."""
    rows: list[Any] = cases.drop_duplicates("group").to_dict("records")
    words = {str(row["group"]): words_of(row) for row in rows}
    fields = {name for held in words.values() for name in held}
    varying = {name for name in fields if len({held.get(name) for held in words.values()}) > 1}
    told = varying or fields
    return {
        group: Regime(
            group,
            _SEPARATOR.join(word for name, word in held.items() if name in told),
            _SEPARATOR.join(held.values()),
            held,
            number,
        )
        for number, (group, held) in enumerate(words.items())
    }


def shared(all_regimes: Mapping[str, Regime]) -> str:
    """Return the conditions that every regime shares; empty if there is one regime or none."""
    words = [regime.full.split(_SEPARATOR) for regime in all_regimes.values()]
    if len(words) < 2:
        return ""
    return _SEPARATOR.join(word for word in words[0] if all(word in held for held in words))


def words_of(row: Mapping[Any, Any]) -> dict[str, str]:
    """Name every condition; patch and heads only where they are not what one expects."""
    words = {
        "width": f"width {row['width']}",
        "batch": f"batch {row['batch']}",
        "tokens": f"{row['tokens']} tokens",
    }
    if row["patch"] != 16:
        words["patch"] = f"patch {row['patch']}"
    if row["heads"] * HEAD_WIDTH != row["width"]:
        words["heads"] = units.count(row["heads"], "head")
    words |= {"dtype": str(row["dtype"]), "device": str(row["device"])}
    words["mode"] = mode_word(str(row["mode"]))
    words["scope"] = {"whole": "whole net", "trunk": "trunk only"}.get(row["scope"], row["scope"])
    return words
