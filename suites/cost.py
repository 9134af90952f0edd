"""What the tool itself costs: asv times two of its commands, each time in a fresh process."""

from __future__ import annotations

from . import runs
from .runs import Cache


class Commands(runs.OnCpu):
    version = "1"
    number = 1
    repeat = 4  # a report takes two seconds
    rounds = 1
    warmup_time = 0

    def timeraw_import(self, cache: Cache) -> str:
        return "import paraformer_bench.__main__"

    timeraw_import.pretty_name = "Import of the command line"

    def timeraw_report(self, cache: Cache) -> str:
        if cache["refused"]:
            runs.not_available(cache["refused"])
        return f"""
            from contextlib import redirect_stdout
            from io import StringIO
            from paraformer_bench.__main__ import main
            with redirect_stdout(StringIO()):  # asv reads the time from there
                code = main(["report", {cache["folder"]!r}])
            if code:
                raise SystemExit("report failed")
        """

    timeraw_report.pretty_name = "Judging a run and building its page"
