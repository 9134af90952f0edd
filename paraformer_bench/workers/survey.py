"""Child process that says what is here: the registry's names and the environment.

Run as ``python -m paraformer_bench.workers.survey PLUGIN...``; prints a `SurveyAnswer`. The
parent's side is `paraformer_bench.study.survey`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from paraformer_bench.instrument import environment
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.plugins import installed_plugins, load_plugins
from paraformer_bench.study.registry import EXECUTIONS, MODELS, RUNTIMES
from paraformer_bench.study.survey import Survey, SurveyAnswer


def survey(plugins: list[Path]) -> Survey:
    """Load ``plugins`` and look at what is registered, the environment and the versions."""
    load_plugins(plugins)
    return Survey(
        MODELS.traits(),
        EXECUTIONS.traits(),
        RUNTIMES.traits(),
        environment.collect(),
        environment.versions(),
        installed_plugins(),
    )


def main() -> None:
    """Print the survey on stdout; what plugins print goes to stderr."""
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        answer = SurveyAnswer(survey([Path(argument) for argument in sys.argv[1:]]))
    except UsageError as error:
        answer = SurveyAnswer(error=str(error))
    with channel:
        channel.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
