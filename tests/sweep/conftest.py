"""A checked request on a machine that is made up, with ceilings that are fresh."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from paraformer_bench.study.ceilings import Ceilings, Copy, Product
from paraformer_bench.study.suite import Suite
from paraformer_bench.study.survey import Survey
from paraformer_bench.sweep.plan import Plan, Study


def make_ceilings(
    survey: Survey, dtypes: tuple[str, ...] = ("float32",), age: float = 0.0
) -> Ceilings:
    """Ceilings of the CPU of a machine, measured ``age`` days ago."""
    place = survey.place("cpu")
    return Ceilings(
        date=(datetime.now(timezone.utc) - timedelta(days=age)).isoformat(),
        host=place.host,
        device=place.device,
        device_name=place.device_name,
        torch=place.torch,
        package="0",
        copies=(Copy(2**20, 1e11),),
        products=tuple(Product(dtype, 2**20, 1e-5) for dtype in sorted(dtypes)),
        launch_seconds=2e-6,
        node_seconds=None,
        sync_seconds=0.0,
    )


@pytest.fixture(scope="session")
def ceilings_of() -> Callable[..., Ceilings]:
    return make_ceilings


@pytest.fixture
def study_of(survey_of: Callable[..., Survey]) -> Callable[[Plan], Study]:
    """Make a study of a plan that has nothing else to do."""

    def study_of(plan: Plan) -> Study:
        survey = survey_of()
        dtypes = ("float32", *(case.dtype for case in plan.cases))
        ceilings = make_ceilings(survey, dtypes)
        return Study(Suite("x", ()), plan, survey, Path("run"), ceilings=ceilings)

    return study_of
