"""What the C core costs: its thread beyond an empty timer loop, a thread-sample, a process.

    python -m benchmarks.core --rounds 5 --seconds 2

Each figure is from processes of their own, in turns and changing order: the program alone, with an
empty loop in C that wakes up at the same jittered times, and with the sampler. The CPU time of the loop
and of the sampler is that of their threads. Machines are shared and noisy: read medians and ratios, and
the load.
"""

import argparse
import asyncio
import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import set_span_in_context
from opentelemetry.trace.propagation import _SPAN_KEY

from otelprof import _core

_NS_PER_S = 1_000_000_000
_COMPARED = 4  # so many of the programs are in the table of costs
_IDLE_FEW, _IDLE_MANY = 20, 220
_EMPTY_LOOP = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake;
static pthread_t thread;
static int must_stop;
static uint64_t period, wakes, cpu_ns;

static uint64_t
now(clockid_t clock)
{
    struct timespec at;
    clock_gettime(clock, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void *
run(void *unused)
{
    uint64_t due = now(CLOCK_MONOTONIC), random = due | 1;
    pthread_mutex_lock(&lock);
    while (!must_stop) {
        const struct timespec at = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
        if (pthread_cond_timedwait(&wake, &lock, &at) == 0) {
            continue;
        }
        random ^= random >> 12; random ^= random << 25; random ^= random >> 27;
        due += period / 2 + (random * UINT64_C(0x2545f4914f6cdd1d)) % period;
        due = due < now(CLOCK_MONOTONIC) ? now(CLOCK_MONOTONIC) : due;
        wakes++;
    }
    cpu_ns = now(CLOCK_THREAD_CPUTIME_ID);
    pthread_mutex_unlock(&lock);
    return unused;
}

int
loop_start(uint64_t period_ns)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&wake, &attributes);
    period = period_ns;
    return pthread_create(&thread, 0, run, 0);
}

uint64_t
loop_stop(uint64_t *count)
{
    pthread_mutex_lock(&lock);
    must_stop = 1;
    pthread_cond_signal(&wake);
    pthread_mutex_unlock(&lock);
    pthread_join(thread, 0);
    *count = wakes;
    return cpu_ns;
}
"""

_Figures = dict[str, float]


def main() -> None:
    """Run all programs and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="about how long one run takes")
    parser.add_argument("--one", choices=_PROGRAMS, help="run one program here and print figures")
    parser.add_argument(
        "--with", dest="beside", default="nothing", help="nothing, sampler, or a loop's path"
    )
    parser.add_argument("--rate", type=float, default=100.0)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_run(options.one, options.beside, options.rate, options.seconds)))
        return
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} CPUs, "
        f"load {os.getloadavg()[0]:.2f}, {options.rounds} rounds of {options.seconds:g} s"
    )
    with tempfile.TemporaryDirectory() as folder:
        loop = _build_loop(Path(folder))
        _print_costs(loop, options.rounds, options.seconds)
        _print_parts(loop, options.rounds, options.seconds)
    print(f"load {os.getloadavg()[0]:.2f}")


def _build_loop(folder: Path) -> str:
    source, library = folder / "loop.c", folder / "loop.so"
    source.write_text(_EMPTY_LOOP)
    command = ["cc", "-O2", "-fPIC", "-shared", "-pthread", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    return str(library)


def _print_costs(loop: str, rounds: int, seconds: float) -> None:
    """The sampler's thread and the whole process, in shares of a core."""
    row = "{:22}{:>8}{:>10}{:>10}{:>10}{:>9}{:>9}{:>10}{:>16}"
    names = (
        "program",
        "asked",
        "achieved",
        "sampler",
        "loop",
        "beyond",
        "a pass",
        "process",
        "[min..max]",
    )
    print(row.format(*names))
    for rate in (100.0, 1000.0):
        for program in list(_PROGRAMS)[:_COMPARED]:
            runs = _interleave(program, loop, rate, rounds, seconds)
            ratios = [
                with_it["process_s"] / alone["process_s"]
                for with_it, alone in zip(runs["sampler"], runs["nothing"], strict=True)
            ]
            sampler, empty = (_median(runs[kind], "share") for kind in ("sampler", "loop"))
            print(
                row.format(
                    program,
                    f"{rate:g} Hz",
                    f"{_median(runs['sampler'], 'rate_hz'):.0f} Hz",
                    f"{sampler:.2%}",
                    f"{empty:.2%}",
                    f"{sampler - empty:.2%}",
                    f"{_median(runs['sampler'], 'wake_us'):.1f} µs",
                    f"{statistics.median(ratios):.3f}",
                    f"[{min(ratios):.2f}..{max(ratios):.2f}]",
                )
            )


def _print_parts(loop: str, rounds: int, seconds: float) -> None:
    """One thread-sample, from how the cost of a pass grows with what there is to do."""
    few = _interleave(f"{_IDLE_FEW} idle", loop, 1000.0, rounds, seconds)["sampler"]
    many = _interleave(f"{_IDLE_MANY} idle", loop, 1000.0, rounds, seconds)["sampler"]
    unmoved_us = (_median(many, "wake_us") - _median(few, "wake_us")) / (_IDLE_MANY - _IDLE_FEW)
    none = _interleave("nothing runs", loop, 1000.0, rounds, seconds)["sampler"]
    deep = _interleave("1 busy, depth 50", loop, 1000.0, rounds, seconds)["sampler"]
    active_us = _median(deep, "wake_us") - _median(none, "wake_us")
    print(f"an unmoved thread: {unmoved_us:.2f} µs a pass, in a pass over {_IDLE_MANY}")
    print(f"an active thread at depth 50: {active_us:.1f} µs beyond a pass without it")


def _median(runs: list[_Figures], name: str) -> float:
    return statistics.median(run[name] for run in runs)


def _interleave(
    program: str, loop: str, rate: float, rounds: int, seconds: float
) -> dict[str, list[_Figures]]:
    kinds = {"nothing": "nothing", "loop": loop, "sampler": "sampler"}
    runs: dict[str, list[_Figures]] = {kind: [] for kind in kinds}
    for number in range(rounds):
        for kind in list(kinds) if number % 2 else reversed(list(kinds)):
            runs[kind].append(_run_apart(program, kinds[kind], rate, seconds))
    return runs


def _run_apart(program: str, beside: str, rate: float, seconds: float) -> _Figures:
    command = [sys.executable, "-m", "benchmarks.core", "--one", program, "--with", beside]
    command += ["--rate", str(rate), "--seconds", str(seconds)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures: _Figures = json.loads(output)
    return figures


def _run(program: str, beside: str, rate: float, seconds: float) -> _Figures:
    """One program with one thing beside it, in this process."""
    runtime = _core.RuntimeContext()
    _core.set_labels(enabled=True, span_key=_SPAN_KEY)
    # As the profiler does.
    otel_context._RUNTIME_CONTEXT = runtime  # type: ignore[assignment] # noqa: SLF001
    period_ns = round(_NS_PER_S / rate)
    release = threading.Event()
    figures: _Figures = {}
    with _Beside(beside, period_ns, runtime) as other:
        begin_s, process_s = time.perf_counter(), time.process_time()
        _PROGRAMS[program](seconds, release)
        figures["process_s"] = time.process_time() - process_s
        wall_s = time.perf_counter() - begin_s
    release.set()
    if other.wakes:
        figures["share"] = other.cpu_ns / _NS_PER_S / wall_s
        figures["rate_hz"] = other.wakes / wall_s
        figures["wake_us"] = other.cpu_ns / other.wakes / 1e3
    return figures


class _Beside:
    """The sampler, the empty loop, or nothing; then what its thread used, and its wake-ups."""

    def __init__(self, what: str, period_ns: int, runtime: _core.RuntimeContext) -> None:
        self.cpu_ns = self.wakes = 0
        self._period_ns = period_ns
        self._sampler: _core.Sampler | None = None
        self._loop = None if what in ("nothing", "sampler") else ctypes.CDLL(what)
        if what == "sampler":
            var = runtime._current_context  # noqa: SLF001 - the contract's own name
            self._sampler = _core.Sampler(period_ns=period_ns, cpu_budget=1.0, var=var)

    def __enter__(self) -> Self:
        if self._sampler:
            self._sampler.start()
        if self._loop:
            self._loop.loop_start(ctypes.c_uint64(self._period_ns))
        return self

    def __exit__(self, *_: object) -> None:
        if self._sampler:
            # The kernel's figure: health() has the time up to the end of the last pass only.
            self.cpu_ns = _cpu_ns_of_thread("otelprof")
            self._sampler.stop()
            self.wakes = int(self._sampler.health()["passes"])
        if self._loop:
            self._loop.loop_stop.restype = ctypes.c_uint64
            count = ctypes.c_uint64()
            self.cpu_ns = self._loop.loop_stop(ctypes.byref(count))
            self.wakes = count.value


def _cpu_ns_of_thread(name: str) -> int:
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text().strip() == name:
            return int((task / "schedstat").read_text().split()[0])
    raise RuntimeError(f"there is no thread called {name}")


def _spin(seconds: float) -> int:
    """A fixed amount of pure Python, about so many seconds: less of it done is not less cost."""
    total = 0
    for _ in range(round(seconds * 70)):
        total += sum(i * i % 7 for i in range(150_000))
    return total


def _at_depth(depth: int, function: Callable[[], object]) -> None:
    if depth:
        _at_depth(depth - 1, function)
    else:
        function()


def _busy(depth: int) -> Callable[[float, threading.Event], None]:
    def run(seconds: float, _release: threading.Event) -> None:
        _at_depth(depth, lambda: _spin(seconds))

    return run


def _idle(threads: int, *, is_busy: bool) -> Callable[[float, threading.Event], None]:
    def run(seconds: float, release: threading.Event) -> None:
        for _ in range(threads):
            threading.Thread(target=_at_depth, args=(10, release.wait), daemon=True).start()
        if is_busy:
            _spin(seconds)
        else:
            release.wait(seconds)

    return run


def _tasks(seconds: float, _release: threading.Event) -> None:
    """20 tasks, each in a span of its own, that take turns after some 0.3 ms."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("benchmark")

    async def work(turns: int) -> None:
        otel_context.attach(set_span_in_context(tracer.start_span("work")))
        for _ in range(turns):
            sum(i * i % 7 for i in range(3_000))
            await asyncio.sleep(0)

    async def all_of_them() -> None:
        await asyncio.gather(*(work(round(seconds * 175)) for _ in range(20)))

    asyncio.run(all_of_them())


_PROGRAMS: dict[str, Callable[[float, threading.Event], None]] = {
    "1 busy": _busy(0),
    "1 busy, depth 50": _busy(50),
    "50 idle, 1 busy": _idle(50, is_busy=True),
    "20 tasks in spans": _tasks,
    "nothing runs": _idle(0, is_busy=False),
    f"{_IDLE_FEW} idle": _idle(_IDLE_FEW, is_busy=False),
    f"{_IDLE_MANY} idle": _idle(_IDLE_MANY, is_busy=False),
}


if __name__ == "__main__":
    main()
