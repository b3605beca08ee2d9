"""What the profiler costs apart from sampling: import, start and stop, memory, and forks.

    python -m benchmarks.footprint --rounds 7

Each figure is the difference between processes of their own, in turns and changing order: one without and
one with the profiler. They come in two kinds: `sdk` has only imported OpenTelemetry's SDK; `service` has a
tracer provider that exports OTLP over HTTP, as most services have that otelprof is for, and with that much
of what otelprof needs. All find their bytecode compiled. Memory is `Rss` of /proc/self/smaps_rollup, in a
process with 50 idle threads and a busy one; forks are in such a process, too. Machines are shared and
noisy: read medians, and the load.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from otelprof.formats import pprof_reader

_HOSTS = ("sdk", "service")
_PROGRAM = "from benchmarks.footprint_process import main; main()"

_Figures = dict[str, float]


class _Row(NamedTuple):
    """A line of the table: a figure of the processes, and how much more it may be with the profiler."""

    text: str
    figure: str
    unit: str
    limit: float | None = None


# The limits are the design's; a figure without one tells where another comes from.
_ROWS: Mapping[str, Sequence[_Row]] = {
    "start": (
        _Row("import, Profiler() and start(), wall", "ready_wall_ms", "ms", 60),
        _Row("import, Profiler() and start(), CPU", "ready_cpu_ms", "ms", 60),
        _Row("  import", "import_cpu_ms", "ms"),
        _Row("  Profiler()", "build_cpu_ms", "ms"),
        _Row("  start()", "start_cpu_ms", "ms"),
        _Row("  stop() after 0.3 s", "stop_cpu_ms", "ms"),
        _Row("Profiler(), start() and stop(), CPU", "start_stop_cpu_ms", "ms", 50),
        _Row("start() and stop() once more, CPU", "again_cpu_ms", "ms", 50),
    ),
    "memory": (
        _Row("memory when started", "started_mb", "MiB"),
        _Row("memory before a flush", "sampled_mb", "MiB"),
        _Row("memory after it", "flushed_mb", "MiB", 8),
        _Row("memory after another", "again_mb", "MiB", 8),
        _Row("largest (VmHWM)", "peak_mb", "MiB"),
    ),
    "fork": (
        _Row("os.fork() in the parent, p50", "parent_p50_ms", "ms", 1),
        _Row("os.fork() in the parent, p95", "parent_p95_ms", "ms"),
        _Row("until the child's first statement, p50", "child_p50_ms", "ms", 1),
        _Row("until the child's first statement, p95", "child_p95_ms", "ms"),
        _Row("until the child is sampled", "restart_ms", "ms"),
        _Row("profiles that the child delivered", "child_profiles", ""),
    ),
}


def main() -> None:
    """Run all processes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="sampled before each flush")
    parser.add_argument("--exporter", default="file", help="file, otlp, none")
    parser.add_argument("--only", choices=_ROWS, help="only this part of the table")
    options = parser.parse_args()
    print(
        f"{platform.python_implementation()} {platform.python_version()}, otelprof {version('otelprof')}, "
        f"opentelemetry-sdk {version('opentelemetry-sdk')}, {os.cpu_count()} CPUs, "
        f"load {os.getloadavg()[0]:.2f}, {options.rounds} rounds, exporter {options.exporter}"
    )
    layout = "{:9}{:40}{:>9}{:>9}{:>12}{:>19}{:>8}"
    print(layout.format("process", "figure", "without", "with", "beyond", "[min..max]", "limit"))
    with tempfile.TemporaryDirectory() as folder:
        for what in [options.only] if options.only else _ROWS:
            for host in _HOSTS:
                case = _Case(what, host, options.exporter, options.seconds, Path(folder))
                for line in _lines(_ROWS[what], _interleave(case, options.rounds)):
                    print(layout.format(host, *line))
        print(f"sampler: {_sampler(Path(folder))}, load {os.getloadavg()[0]:.2f}")


class _Case(NamedTuple):
    """What is measured, in a process of which kind."""

    what: str
    host: str
    exporter: str
    seconds: float
    folder: Path


def _interleave(case: _Case, rounds: int) -> list[dict[str, _Figures]]:
    """Figures of each round, without an exporter and with it."""
    kinds = ("-", case.exporter)
    for kind in kinds:
        _run_apart(case._replace(what="start"), kind)  # so that everything is compiled
    runs: list[dict[str, _Figures]] = []
    for number in range(rounds):
        order = kinds if number % 2 else kinds[::-1]
        figures = {kind: _run_apart(case, kind) for kind in order}
        runs.append({"without": figures["-"], "with": figures[case.exporter]})
    return runs


def _run_apart(case: _Case, exporter: str) -> _Figures:
    # With threads, a fork warns on Python 3.12 and newer.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _PROGRAM]
    command += [case.what, case.host, exporter, str(case.seconds), str(time.monotonic_ns())]
    dropped = ("OTELPROF", "PYTHONDONTWRITEBYTECODE")
    environment = {name: v for name, v in os.environ.items() if not name.startswith(dropped)}
    environment |= {
        "OTELPROF_SAMPLER": "core",
        "OTELPROF_FILE_DIR": str(case.folder / "profiles"),
        "PYTHONPYCACHEPREFIX": str(case.folder / "bytecode"),
    }
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    figures: _Figures = json.loads(run.stdout)
    return figures


def _lines(rows: Sequence[_Row], runs: Sequence[dict[str, _Figures]]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        is_compared = row.figure in runs[0]["without"]
        less = [run["without"].get(row.figure, 0.0) for run in runs]
        more = [run["with"][row.figure] for run in runs]
        beyond = [b - a for a, b in zip(less, more, strict=True)]
        is_over = row.limit is not None and statistics.median(beyond) > row.limit
        yield (
            row.text,
            f"{statistics.median(less):.2f}" if is_compared else "",
            f"{statistics.median(more):.2f}",
            f"{statistics.median(beyond):.2f} {row.unit}",
            f"[{min(beyond):.2f}..{max(beyond):.2f}]",
            "" if row.limit is None else f"{row.limit:g}{' !' if is_over else ''}",
        )


def _sampler(folder: Path) -> str:
    """Which one ran, as the profiles say."""
    files = (folder / "profiles").glob("*.pb.gz")
    found = {p.producer.sampler for file in files for p in pprof_reader.decode(file.read_bytes())}
    return ", ".join(sorted(found)) or "not known, there are no profiles"


if __name__ == "__main__":
    main()
