"""Runs the demo as a newcomer does, and reads what it leaves."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from otelprof import span_table
from otelprof.cli.inputs import Loaded, load

ROOT = Path(__file__).parents[2]
_TIMEOUT_S = 180


@dataclass(frozen=True)
class Demo:
    """A finished demo: where it left its files, what it printed, and its profiles."""

    directory: Path
    output: str
    errors: str
    shown: Loaded

    def span(self, name: str) -> span_table.SpanTime:
        """The row of the table that has this name."""
        return next(time for time in self.table() if time.name == name)

    def slowest(self) -> list[list[str]]:
        """The rows of the table that the demo ends with, as what is printed in their columns."""
        rows = self.output.partition("mostly in\n")[2].splitlines()
        return [re.split(r" {2,}", row.strip()) for row in rows if "  " in row]

    def table(self) -> list[span_table.SpanTime]:
        """All of that table."""
        return span_table.by_span(self.shown.profiles, self.shown.spans)


def run_demo(directory: Path, *arguments: str, **environ: str) -> Demo:
    """Run `python -m examples.demo` to its end, with more variables in its environment."""
    command = [sys.executable, "-m", "examples.demo", "--out", str(directory), *arguments]
    finished = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environ},
        check=False,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return Demo(
        directory, finished.stdout, finished.stderr, load(sorted(directory.glob("*.pb.gz")))
    )
