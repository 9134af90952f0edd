"""The sections of a run page, a file each.

Every module here has ``sections``, a function from `data.ReportData` to a list of
`page.Section` (empty where there is nothing to tell), and ``ORDER``, its place on the page.
A new file is found by itself.
"""

from __future__ import annotations

import importlib
import pkgutil

from paraformer_bench.report.data import ReportData
from paraformer_bench.report.page import Section


def run_sections(data: ReportData) -> list[Section]:
    """Return the sections of the page of a run, in reading order."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    modules.sort(key=lambda module: int(module.ORDER))
    return [section for module in modules for section in module.sections(data)]
