"""Runs the demo as a newcomer does, and reads what it leaves."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from otelprof import summary
from otelprof.cli.show import Shown, load

ROOT = Path(__file__).parents[2]
_TIMEOUT_S = 180


@dataclass(frozen=True)
class Demo:
    """A finished demo: what it printed, and its profiles."""

    output: str
    errors: str
    shown: Shown

    def span(self, name: str) -> summary.SpanTime:
        """The row of the table that has this name."""
        return next(time for time in self.table() if time.name == name)

    def table(self) -> list[summary.SpanTime]:
        """The table that the demo ends with."""
        return summary.by_span(self.shown.profiles, self.shown.spans)


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
    return Demo(finished.stdout, finished.stderr, load(sorted(directory.glob("*.pb.gz"))))
