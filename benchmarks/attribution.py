"""Whether time stands where it was spent: what the profile says of three functions, against the truth.

    python -m benchmarks.attribution --rounds 2 --seconds 15

`seventy`, `twenty` and `ten` do 70, 20 and 10 % of the work, in turns of some milliseconds: in pure Python,
in C functions that hold the GIL, in such that release it, and mixed, one function of each kind. They do
it in one thread, in two, and in two on one processor. The clocks of the thread and of the machine are read
around each turn; the sum is the truth, and shares are of what the threads used in all. So a function's
share is too small also where time has gone to no function. How far it is off is in points, over all rounds
together, and beside it how much of that may be chance: the standard deviation that so many samples at random times
would give the largest share, if each of them counted. `reported` is the CPU time in the profile, per CPU
time used.
"""

import argparse
import hashlib
import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import otelprof
from otelprof.formats import pprof_reader
from otelprof.model import Profile

_LIMIT_POINTS = 2.0
_TURN_S = 0.003  # of `ten`: so 30 ms all three, and clocks are not read too often
# Weights are times between passes, even from half of the period to one and a half: the variance is larger
# by mean square over square of the mean than that of samples of equal weight.
_JITTER = 13 / 12
_CLOCKS = ("cpu", "wall")
_WORKER = "worker"

_Call = Callable[[], object]
_Figures = dict[str, dict[str, float]]


class _Case(NamedTuple):
    """Who does what where; 0 processors for all that there are."""

    work: str
    threads: int
    processors: int


def main() -> None:
    """Run all cases and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=15.0, help="about how long one run takes")
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--only", choices=_WORK, help="only this kind of work")
    parser.add_argument("--one", choices=_WORK, help="run one case here and print figures")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processors", type=int, default=0)
    options = parser.parse_args()
    if options.one:
        case = _Case(options.one, options.threads, options.processors)
        print(json.dumps(_run(case, options.rate, options.seconds)))
        return
    print(
        f"{platform.python_implementation()} {platform.python_version()}, otelprof {version('otelprof')}, "
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}, "
        f"{options.rounds} rounds of {options.seconds:g} s, {options.rate:g} Hz asked"
    )
    layout = "{:16}{:>8}{:>6}{:>6}{:>10}{:>17}{:>17}{:>8}{:>8}{:>6}{:>21}{:>10}"
    columns = ("work", "threads", "CPUs", "", "achieved", "true", "reported", "off by", "chance")
    print(layout.format(*columns, "limit", "reported/used", "no place"))
    kinds = [options.only] if options.only else list(_WORK)
    cases = [_Case(work, *where) for work in kinds for where in ((1, 0), (2, 0), (2, 1))]
    runs: dict[_Case, list[_Figures]] = {case: [] for case in cases}
    for number in range(options.rounds):
        for case in cases[:: 1 if number % 2 else -1]:
            runs[case].append(_run_apart(case, options.rate, options.seconds))
    for case, rounds in runs.items():
        for kind in _CLOCKS:
            where = (case.work, case.threads, case.processors or "all", kind)
            print(layout.format(*where, *_cells(kind, rounds)))
    samplers = {sampler for rounds in runs.values() for run in rounds for sampler in run["sampler"]}
    print(f"sampler: {', '.join(sorted(samplers))}, load {os.getloadavg()[0]:.2f}")


def _cells(kind: str, runs: Sequence[_Figures]) -> Iterator[str]:
    true, reported = (_total(runs, f"{of}_{kind}") for of in ("true", "reported"))
    should_be, are = ([of[name] / of["all"] for name in _FUNCTIONS] for of in (true, reported))
    off_by = max(abs(one - other) for one, other in zip(should_be, are, strict=True))
    samples = sum(run["run"]["samples"] for run in runs)
    chance = math.sqrt(_JITTER * should_be[0] * (1 - should_be[0]) / samples)
    ratios = [run[f"reported_{kind}"]["all"] / run[f"true_{kind}"]["all"] for run in runs]
    yield f"{statistics.median(run['run']['rate_hz'] for run in runs):.0f} Hz"
    yield "/".join(f"{100 * share:.1f}" for share in should_be)
    yield "/".join(f"{100 * share:.1f}" for share in are)
    yield f"{100 * off_by:.2f}"
    yield f"{100 * chance:.2f}"
    yield f"{_LIMIT_POINTS:g}{' !' if 100 * off_by > _LIMIT_POINTS else ''}"
    yield f"{statistics.median(ratios):.3f} [{min(ratios):.2f}..{max(ratios):.2f}]"
    yield f"{reported['nowhere'] / reported['all']:.2%}"


def _total(runs: Sequence[_Figures], name: str) -> dict[str, float]:
    return {key: sum(run[name][key] for run in runs) for key in runs[0][name]}


def _run_apart(case: _Case, rate: float, seconds: float) -> _Figures:
    command = [sys.executable, "-m", "benchmarks.attribution", "--one", case.work]
    command += ["--threads", str(case.threads), "--processors", str(case.processors)]
    command += ["--rate", str(rate), "--seconds", str(seconds)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: _Figures = json.loads(output)
    return figures


def _run(case: _Case, rate: float, seconds: float) -> _Figures:
    """One case, profiled, in this process."""
    if case.processors:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: case.processors])
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "out.pb.gz")
        profiler = otelprof.Profiler(sampler="core", rate_hz=rate, output=output, flush_s=3600)
        workers = [_Worker(_WORK[case.work], seconds) for _ in range(case.threads)]
        for worker in workers:
            worker.thread.start()
            worker.is_ready.wait()
        profiler.start()
        begin_s, passes = time.perf_counter(), profiler.health()["passes"]
        for worker in workers:
            worker.may_begin.set()
        for worker in workers:
            worker.is_done.wait()
        wall_s, passes = time.perf_counter() - begin_s, profiler.health()["passes"] - passes
        profiler.stop()
        profiles = pprof_reader.decode(output.read_bytes())
    figures = {f"reported_{profile.kind}": _reported_ns(profile) for profile in profiles}
    for kind in _CLOCKS:
        figures[f"true_{kind}"] = _sums(worker.spent_ns[kind] for worker in workers)
    figures["run"] = {"rate_hz": passes / wall_s, "samples": float(passes)}
    figures["sampler"] = {profile.producer.sampler: 1.0 for profile in profiles}
    return figures


def _sums(parts: Iterator[dict[str, int]]) -> dict[str, float]:
    total = dict.fromkeys([*_FUNCTIONS, "all"], 0.0)
    for part in parts:
        for name, spent_ns in part.items():
            total[name] += spent_ns
    return total


def _reported_ns(profile: Profile) -> dict[str, float]:
    """Time of the workers by function, but for their waiting; `nowhere` is in no function that was proved."""
    tables = profile.tables
    names = [tables.function_name(frame).rpartition(".")[2] for frame in range(len(tables.frames))]
    stacks = [{names[frame] for frame in stack} for stack in tables.stacks]
    total = dict.fromkeys([*_FUNCTIONS, "all", "nowhere"], 0.0)
    rows = zip(profile.stack, profile.labels, profile.column(profile.kind), strict=True)
    for stack, labels, weight_ns in rows:
        is_worker = tables.labels_of(labels).get("thread_name", "").startswith(_WORKER)
        if not is_worker or "wait" in stacks[stack]:
            continue
        total["all"] += weight_ns
        if "_work" not in stacks[stack]:
            total["nowhere"] += weight_ns
        for name in _FUNCTIONS:
            total[name] += weight_ns * (name in stacks[stack])
    return total


class _Worker:
    """A thread that waits, works, and waits again, so that its work can be told from its begin and its end."""

    def __init__(self, work: "_Work", seconds: float) -> None:
        self.is_ready, self.may_begin = threading.Event(), threading.Event()
        self.is_done, self.may_end = threading.Event(), threading.Event()
        self.spent_ns = {kind: dict.fromkeys([*_FUNCTIONS, "all"], 0) for kind in _CLOCKS}
        self.thread = threading.Thread(target=self._live, args=(work, seconds), daemon=True)
        self.thread.name = f"{_WORKER}-{self.thread.name}"

    def _live(self, work: "_Work", seconds: float) -> None:
        times = [_calibrated(calls) for calls in work]
        self.is_ready.set()
        self.may_begin.wait()
        self._work(work, times, seconds)
        self.is_done.set()
        self.may_end.wait()  # a thread that has ended has no name

    def _work(self, work: "_Work", times: Sequence[int], seconds: float) -> None:
        cpu, wall = self.spent_ns["cpu"], self.spent_ns["wall"]
        begin_cpu_ns, begin_wall_ns = time.thread_time_ns(), time.perf_counter_ns()
        until_ns = begin_wall_ns + round(seconds * 1e9)
        turns = [
            (name, function, calls, share * count)
            for (name, (function, share)), calls, count in zip(
                _FUNCTIONS.items(), work, times, strict=True
            )
        ]
        while time.perf_counter_ns() < until_ns:
            for name, function, calls, count in turns:
                cpu_ns, wall_ns = time.thread_time_ns(), time.perf_counter_ns()
                function(calls, count)
                # A system call comes last: the kernel may take the processor away at its end.
                wall[name] += time.perf_counter_ns() - wall_ns
                cpu[name] += time.thread_time_ns() - cpu_ns
        wall["all"] += time.perf_counter_ns() - begin_wall_ns
        cpu["all"] += time.thread_time_ns() - begin_cpu_ns


def _calibrated(calls: Sequence[_Call]) -> int:
    """How often `ten` is to call them."""
    ten(calls, 1)
    begin_ns = time.thread_time_ns()
    ten(calls, 5)
    return max(1, round(5 * _TURN_S * 1e9 / (time.thread_time_ns() - begin_ns)))


# Each calls C by itself, so that it is the leaf while C runs.
def seventy(calls: Sequence[_Call], times: int) -> None:
    """Do 70 % of the work."""
    for _ in range(times):
        for call in calls:
            call()


def twenty(calls: Sequence[_Call], times: int) -> None:
    """Do 20 % of the work."""
    for _ in range(times):
        for call in calls:
            call()


def ten(calls: Sequence[_Call], times: int) -> None:
    """Do 10 % of the work."""
    for _ in range(times):
        for call in calls:
            call()


_FUNCTIONS = {"seventy": (seventy, 7), "twenty": (twenty, 2), "ten": (ten, 1)}


def _python() -> int:
    total = 0
    for number in range(3_000):
        total += number * number % 7
    return total


_random = random.Random(70)  # noqa: S311 - any numbers, but always the same
_NUMBERS = [_random.random() for _ in range(3_000)]
_TEXT = bytes(_random.choices(b"abcdefgh ", k=10_000))

# Each for about a millisecond at most.
_PYTHON: Sequence[_Call] = (_python,)
_HOLDS_GIL: Sequence[_Call] = (
    partial(sorted, _NUMBERS),
    partial(pow, _random.getrandbits(2_500) | 1, 30),
)
_RELEASES_GIL: Sequence[_Call] = (
    partial(zlib.compress, _TEXT),
    partial(hashlib.sha256, bytes(1 << 20)),
)

# What each of `_FUNCTIONS` calls.
_Work = Sequence[Sequence[_Call]]
_WORK: Mapping[str, _Work] = {
    "Python": (_PYTHON, _PYTHON, _PYTHON),
    "C with the GIL": (_HOLDS_GIL, _HOLDS_GIL, _HOLDS_GIL),
    "C without": (_RELEASES_GIL, _RELEASES_GIL, _RELEASES_GIL),
    "mixed": (_RELEASES_GIL, _PYTHON, _HOLDS_GIL),
}


if __name__ == "__main__":
    main()
