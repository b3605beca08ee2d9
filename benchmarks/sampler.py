"""What the sampler costs: a busy program with and without it, in turns.

    make bench                      or: python -m benchmarks.sampler --rounds 9 --seconds 2

Each round runs the program twice in processes of their own, in changing order, and compares the CPU time
of the whole process and of the sampler's thread. The work is fixed, so less of it done is not less cost.
Machines are shared and noisy: read medians and ratios, and the load that is printed with them.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time

from otelprof.config import Config
from otelprof.profiler import Profiler

PROGRAMS = ("busy", "deep", "idle_threads")
_NS_PER_MS = 1e6


def main() -> None:
    """Compare rounds with and without the sampler, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="about how long one run takes")
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument(
        "--one", choices=PROGRAMS, help="run one program here and print its figures"
    )
    parser.add_argument("--profiled", action="store_true")
    options = parser.parse_args()
    if options.one:
        print(
            json.dumps(_run(options.one, options.seconds, options.rate, profiled=options.profiled))
        )
        return
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} CPUs, "
        f"load {os.getloadavg()[0]:.2f}, {options.rounds} rounds, {options.rate:g} Hz asked",
    )
    header = (
        "program",
        "process CPU",
        "[min..max]",
        "sampler CPU",
        "of a core",
        "achieved",
        "a pass",
        "reported/used",
    )
    print("{:14}{:>13}{:>16}{:>13}{:>11}{:>11}{:>10}{:>15}".format(*header))
    for program in PROGRAMS:
        _compare(program, options.rounds, options.seconds, options.rate)


def _compare(program: str, rounds: int, seconds: float, rate_hz: float) -> None:
    ratios: list[float] = []
    runs: list[dict[str, float]] = []
    for number in range(rounds):
        cpu: dict[bool, float] = {}
        for profiled in ((False, True), (True, False))[number % 2]:
            figures = _run_apart(program, seconds, rate_hz, profiled=profiled)
            cpu[profiled] = figures["process_cpu_s"]
            if profiled:
                runs.append(figures)
        ratios.append(cpu[True] / cpu[False])

    def median(name: str) -> float:
        return statistics.median(run[name] for run in runs)

    print(
        f"{program:14}{statistics.median(ratios):>13.3f}{f'[{min(ratios):.2f}..{max(ratios):.2f}]':>16}"
        f"{median('sampler_cpu_s') / median('process_cpu_s'):>13.2%}"
        f"{median('sampler_cpu_s') / median('wall_s'):>11.2%}{median('achieved_hz'):>8.0f} Hz"
        f"{median('pass_us'):>7.0f} µs{median('reported_to_used'):>15.3f}",
    )


def _run_apart(program: str, seconds: float, rate_hz: float, *, profiled: bool) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.sampler", "--one", program]
    command += [
        "--seconds",
        str(seconds),
        "--rate",
        str(rate_hz),
        *(["--profiled"] if profiled else []),
    ]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures: dict[str, float] = json.loads(output)
    return figures


def _run(program: str, seconds: float, rate_hz: float, *, profiled: bool) -> dict[str, float]:
    profiler = Profiler(Config(rate_hz=rate_hz, exporters=(), flush_s=3600))
    collector = profiler._collectors[0]  # noqa: SLF001 - to read what an exporter would get
    release = threading.Event()
    if program == "idle_threads":
        for _ in range(50):
            threading.Thread(target=_recurse, args=(10, release.wait), daemon=True).start()
    if profiled:
        profiler.start()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    _recurse(50 if program == "deep" else 0, lambda: _work(round(seconds * 70)))
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    figures = {"wall_s": wall_s, "process_cpu_s": cpu_s}
    if profiled:
        health = profiler.health()
        profiler._collectors[0].stop()  # noqa: SLF001 - so that the worker does not take the profiles
        reported_ns = sum(sum(p.column("cpu")) for p in collector.drain() if p.kind == "cpu")
        sampler_s = health["sampler_cpu_ns"] / 1e9
        figures |= {
            "sampler_cpu_s": sampler_s,
            "achieved_hz": health["passes"] / wall_s,
            "pass_us": health["sampler_cpu_ns"] / health["passes"] / 1e3,
            "reported_to_used": reported_ns / 1e9 / (cpu_s - sampler_s),
        }
    release.set()
    profiler.stop()
    return figures


def _work(rounds: int) -> int:
    """A fixed amount of pure Python: about 14 ms a round here."""
    total = 0
    for _ in range(rounds):
        total += sum(i * i % 7 for i in range(150_000))
    return total


def _recurse(depth: int, function: "object") -> None:
    if depth:
        _recurse(depth - 1, function)
    elif callable(function):
        function()


if __name__ == "__main__":
    main()
