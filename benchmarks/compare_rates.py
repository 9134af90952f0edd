"""How often does `compare` cry wolf, and how often does it find a slowdown of 5%? Simulated.

Run as ``python -m benchmarks.compare_rates``; it takes half a minute. The studies are those of
tests/analysis/test_compare_rates.py, which holds the limits; here the rates are printed.
"""

from __future__ import annotations

from tests.analysis.test_compare_rates import (
    CASES,
    contrasts,
    heavy,
    normal,
    shared,
    uneven,
    with_sentinel,
)

DIFFERENT = {"SLOWER", "FASTER"}


def share(found: list[list[str]]) -> float:
    """Share of all cases that were called different."""
    return sum(v in DIFFERENT for study in found for v in study) / sum(map(len, found))


def hits(found: list[list[str]]) -> float:
    """Share of studies in which the last case was called slower."""
    return sum(study[-1] == "SLOWER" for study in found) / len(found)


def main() -> None:
    print(
        "2% noise, 8 blocks in each run; alike: share of cases called different; 5%: share found"
    )
    for draw in (normal, heavy, uneven, shared):
        alike, slower = contrasts(0.02, draw), contrasts(0.02, draw, slowdown=0.05)
        print(f"15 cases, {draw.__name__} noise: alike {share(alike):.2%}, 5% {hits(slower):.1%}")
    for count in (1, 3, 60):
        cases = [case.replace(batch=k + 1) for k, case in enumerate((CASES * 4)[:count])]
        alike = contrasts(0.02, cases=cases, studies=300)
        slower = contrasts(0.02, cases=cases, slowdown=0.05, studies=300)
        print(f"{count} cases, normal noise: alike {share(alike):.2%}, 5% {hits(slower):.1%}")
    for noise in (0.0, 0.005, 0.01, 0.02):
        slower = with_sentinel(slowdown=0.05, machine=0.0, noise=noise)
        print(f"15 cases, sentinel with {noise:.1%} of noise: 5% {hits(slower):.1%}")


if __name__ == "__main__":
    main()
