"""Saying what is here: the registry's names and the environment."""

from __future__ import annotations

from paraformer_bench.instrument import environment
from paraformer_bench.study.events import Surveyed
from paraformer_bench.study.job import SurveyJob
from paraformer_bench.study.plugins import installed_plugins
from paraformer_bench.study.registry import EXECUTIONS, MODELS, RUNTIMES
from paraformer_bench.study.survey import Survey
from paraformer_bench.workers.process import Reporter


def run(job: SurveyJob, emit: Reporter) -> None:
    """Tell of everything that can be measured, and of this machine."""
    emit(Surveyed(survey=survey()))


def survey() -> Survey:
    """Look at what is registered by now, the environment and the versions."""
    return Survey(
        MODELS.traits(),
        EXECUTIONS.traits(),
        RUNTIMES.traits(),
        environment.collect(),
        environment.versions(),
        installed_plugins(),
    )
