"""What profiling costs seven programs, W1 to W7 (programs.py): each with and without the profiler, in turns.

    python -m benchmarks.workloads --rounds 7 --seconds 2

Each run is a process of its own, in changing order. `process` is the CPU time of the whole process, as
a ratio of the two; `profiler` is the CPU time of the profiler's threads, as the kernel counts it for each
thread, per CPU time of their process. Not in either: start and stop (footprint.py), and a flush, unless the
run is longer than the 15 s between two. What one costs at the end of a run stands apart, and `in all` has
it in the share: a little too much, for a flush of 15 s costs less than all of the shorter ones in its place.
On machines that others use, too, a ratio below some 1.05 cannot be told from 1: read the shares, and the load.
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
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import otelprof
from benchmarks.programs import PROGRAMS
from otelprof.formats import pprof_reader

_LIMIT_SHARE = 0.01
_LIMIT_RATIO = 1.02
_LIMITS_RATIO = {"W4": 1.05}  # hundreds of tasks in spans

_Figures = dict[str, float]


def main() -> None:
    """Run all programs and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="about how long one run takes")
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--only", help="such as W1,W4")
    parser.add_argument("--one", choices=PROGRAMS, help="run one program here and print figures")
    parser.add_argument("--profiled", action="store_true")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_run(options.one, options.seconds, options.rate, options.profiled)))
        return
    print(
        f"{platform.python_implementation()} {platform.python_version()}, otelprof {version('otelprof')}, "
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}, "
        f"{options.rounds} rounds of {options.seconds:g} s, {options.rate:g} Hz asked"
    )
    layout = "{:8}{:>9}{:>15}{:>8}{:>11}{:>17}{:>8}{:>8}{:>11}{:>10}{:>11}"
    columns = ("program", "process", "[min..max]", "limit", "profiler", "[min..max]", "limit")
    print(layout.format(*columns, "in all", "achieved", "a pass", "a flush"))
    programs = options.only.split(",") if options.only else list(PROGRAMS)
    runs: dict[str, list[tuple[_Figures, _Figures]]] = {program: [] for program in programs}
    for number in range(options.rounds):
        for program in programs:
            figures: dict[bool, _Figures] = {}
            for profiled in ((False, True), (True, False))[number % 2]:
                figures[profiled] = _run_apart(program, options, profiled=profiled)
            runs[program].append((figures[False], figures[True]))
    for program, pairs in runs.items():
        print(layout.format(program, *_cells(program, pairs)))
    is_core = all(run["is_core"] for pairs in runs.values() for _, run in pairs)
    print(f"sampler: {'core' if is_core else 'not always core'}, load {os.getloadavg()[0]:.2f}")


def _cells(program: str, pairs: Sequence[tuple[_Figures, _Figures]]) -> Iterator[str]:
    ratios = [with_it["process_s"] / alone["process_s"] for alone, with_it in pairs]
    shares = [run["profiler_s"] / run["process_s"] for _, run in pairs]
    in_all = [
        (run["profiler_s"] + run["flush_s"]) / (run["process_s"] + run["flush_s"])
        for _, run in pairs
    ]
    limit = _LIMITS_RATIO.get(program, _LIMIT_RATIO)
    ratio, share = statistics.median(ratios), statistics.median(shares)
    yield f"{ratio:.3f}"
    yield f"[{min(ratios):.2f}..{max(ratios):.2f}]"
    yield f"{limit:g}{' !' if ratio > limit else ''}"
    yield f"{share:.2%}"
    yield f"[{min(shares):.2%}..{max(shares):.2%}]"
    yield f"{_LIMIT_SHARE:.0%}{' !' if share > _LIMIT_SHARE else ''}"
    yield f"{statistics.median(in_all):.2%}"
    yield f"{statistics.median(run['rate_hz'] for _, run in pairs):.0f} Hz"
    yield f"{statistics.median(run['pass_us'] for _, run in pairs):.0f} µs"
    yield f"{1e3 * statistics.median(run['flush_s'] for _, run in pairs):.1f} ms"


def _run_apart(program: str, options: argparse.Namespace, *, profiled: bool) -> _Figures:
    command = [sys.executable, "-m", "benchmarks.workloads", "--one", program]
    command += ["--seconds", str(options.seconds), "--rate", str(options.rate)]
    command += ["--profiled"] * profiled
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: _Figures = json.loads(output)
    return figures


def _run(program: str, seconds: float, rate: float, profiled: bool) -> _Figures:
    """One program, in this process."""
    trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
    if not profiled:
        begin_s = time.process_time()
        PROGRAMS[program](seconds)
        return {"process_s": time.process_time() - begin_s}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "out.pb.gz")
        others = _threads()
        profiler = otelprof.Profiler(sampler="core", rate_hz=rate, output=output)
        profiler.start()
        profiler.flush()  # the exporter is loaded now
        ours = _threads() - others
        before, begin_s, begin_cpu_s = profiler.health(), time.perf_counter(), time.process_time()
        begin_ours_s = _cpu_s_of(ours)
        PROGRAMS[program](seconds)
        process_s, profiler_s = time.process_time() - begin_cpu_s, _cpu_s_of(ours) - begin_ours_s
        wall_s, health = time.perf_counter() - begin_s, profiler.health()
        profiler.flush()
        flush_s = _cpu_s_of(ours) - begin_ours_s - profiler_s
        profiler.stop()
        producers = {p.producer.sampler for p in pprof_reader.decode(output.read_bytes())}
    passes = health["passes"] - before["passes"]
    sampler_ns = health["sampler_cpu_ns"] - before["sampler_cpu_ns"]
    return {
        "process_s": process_s,
        "profiler_s": profiler_s,
        "rate_hz": passes / wall_s,
        "pass_us": sampler_ns / passes / 1e3,
        "flush_s": flush_s,
        "is_core": producers == {"core"},
    }


def _threads() -> set[Path]:
    return set(Path("/proc/self/task").iterdir())


def _cpu_s_of(threads: set[Path]) -> float:
    """Of running threads; the first number in `schedstat` is nanoseconds on a processor."""
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


if __name__ == "__main__":
    main()
