"""How well does the latency model predict what it has not seen?

Run as ``python benchmarks/latency_model.py RUN [RUN ...]`` on run folders of any device; the
reference is the suite ``standard-cpu`` on a CPU and ``standard`` on a GPU. Printed are, for every
curve and basis, the fitted scales, the deepest constant depth as predicted and as measured, the
median absolute error over the depths that the fit has not seen (those beyond 4), and the error at
each of them. The last lines are the figures that the model is held to: the median error over all
of them at most 10%, and every curve's deepest constant depth within one tested step.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from paraformer_bench.analysis.claim import verdict_file
from paraformer_bench.analysis.latency_model import Prediction, predict, unseen_error
from paraformer_bench.study.run_folder import read_run

LIMIT = 0.10


def line(prediction: Prediction) -> str:
    verdict, model = prediction.verdict, prediction.model
    name = f"{verdict.curve_id} ({verdict.basis})"
    if model is None:
        return f"{name}: no model: {prediction.reason}"
    errors = " ".join(f"{s.depth}:{s.error:+.1%}" for s in model.unseen if s.error is not None)
    scales = f"launch x{model.scales.launch:.2f} work x{model.scales.work:.2f}"
    reached = f"up to {model.constant_up_to}, measured {verdict.constant_up_to}"
    error = "nothing unseen" if model.error is None else f"{model.error:.1%}"
    return f"{name}: {scales}; {reached}; error {error}; {errors}"


def steps_apart(prediction: Prediction) -> int:
    """Tested depths between the predicted and the measured end of constancy."""
    assert prediction.model is not None
    ends = (prediction.model.constant_up_to, prediction.verdict.constant_up_to)
    return sum(min(ends) < depth <= max(ends) for depth in prediction.verdict.depths)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    predictions = []
    for folder in parser.parse_args().runs:
        run = read_run(folder)
        found = predict(run, verdict_file(run))
        for prediction in found:
            print(line(prediction))
        predictions += found
    fitted = [prediction for prediction in predictions if prediction.model]
    error = unseen_error(predictions)
    if error is None:
        print("no unseen depth has a model")
        return 1
    apart = [steps_apart(prediction) for prediction in fitted]
    worst = sorted(p.model.error for p in fitted if p.model and p.model.error is not None)
    over = sum(value > LIMIT for value in worst)
    print(f"curves: {len(fitted)} with a model, {len(predictions) - len(fitted)} without")
    print(f"median absolute error over all unseen depths: {error:.1%} (at most {LIMIT:.0%})")
    print(f"curves whose own median is over {LIMIT:.0%}: {over}; the worst is {worst[-1]:.1%}")
    print(f"deepest constant depth within one tested step: {sum(a <= 1 for a in apart)} curves")
    return 0 if error <= LIMIT and max(apart) <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
