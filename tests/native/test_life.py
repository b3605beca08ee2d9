"""T12, T14: starts, stops, forks, exits, and interpreters that come and go."""

import gc
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from multiprocessing.context import ForkProcess, ForkServerProcess, SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.native import alone, drained, support, windows
from tests.native.alone import run_alone, run_program
from tests.native.drained import burn, running, wait_for_passes, wait_for_sampling_threads
from tests.native.installed import core

PERIOD_NS = 1_000_000
FORKS = 1_000 if windows.SOAK_S else 200
EXITS_OF_A_KIND = 5
EMBEDDED_LOOPS = 100 if windows.SOAK_S else 20
CHILD_S = 30  # after which a child hangs


def new_sampler() -> core.Sampler:
    return core.Sampler(period_ns=PERIOD_NS, cpu_budget=1.0)


def test_start_and_stop_may_be_called_again() -> None:
    sampler = new_sampler()
    sampler.stop()
    for _ in range(3):
        sampler.start()
        sampler.start()
        wait_for_passes(sampler)
        wait_for_sampling_threads(1)
        sampler.stop()
        sampler.stop()
        wait_for_sampling_threads(0)


def test_a_start_during_a_stop_leaves_one_thread_or_none() -> None:
    assert run_alone(start_during_stops) is True


def start_during_stops() -> bool:
    """Whether `stop` waits for a thread that `start` told to go on, ever."""
    sampler = new_sampler()
    for _ in range(200):
        sampler.start()
        both = threading.Barrier(2)

        def stop(both: threading.Barrier = both) -> None:
            both.wait()
            sampler.stop()

        stopping = threading.Thread(target=stop, daemon=True)
        stopping.start()
        both.wait()
        sampler.start()
        stopping.join(10)
        if stopping.is_alive():
            os._exit(1)  # at exit the sampler would be waited for
        sampler.stop()
        wait_for_sampling_threads(0)
    return True


class _Warm:
    """Called often, its `__init__` runs above a shim's frame (3.13: `_Py_InitCleanup`)."""

    def __init__(self, sampler: core.Sampler | None = None) -> None:
        self.sampler = sampler or new_sampler()
        burn(1)


def test_a_sampler_can_be_made_in_an_initializer_that_is_called_often_and_sees_it() -> None:
    running_all_the_time = new_sampler()
    running_all_the_time.start()
    for _ in range(200):
        _Warm(running_all_the_time)
    running_all_the_time.stop()
    rows = windows.rows_of(running_all_the_time.drain())
    seen = [row for row in windows.named(rows, _Warm.__init__.__qualname__) if row.samples]
    unread = windows.total(windows.named(rows, windows.UNREAD))
    assert unread == 0, (unread, windows.total(seen))
    assert windows.total(seen) > 0
    for sampler in [None] * 3:
        _Warm(sampler)


def test_two_samplers_may_run_at_once() -> None:
    first, second = new_sampler(), new_sampler()
    first.start()
    second.start()
    wait_for_passes(first, 5)
    wait_for_passes(second, 5)
    first.stop()
    wait_for_sampling_threads(1)
    wait_for_passes(second, 5)
    second.stop()


def test_a_running_sampler_that_nobody_keeps_stops() -> None:
    sampler = new_sampler()
    sampler.start()
    wait_for_passes(sampler)
    wait_for_sampling_threads(1)
    del sampler
    gc.collect()
    wait_for_sampling_threads(0)


def test_a_storm_of_forks_hangs_nothing_and_children_begin_anew() -> None:
    timeout_s = alone.TIMEOUT_S + FORKS / 4
    assert run_alone(fork_under_load, FORKS, timeout_s=timeout_s) == {"failed": {}, "passes": True}


def fork_under_load(forks: int) -> dict[str, object]:
    sampler = new_sampler()
    sampler.start()
    failed: dict[int, int] = {}
    with running(*[_burn_until] * 3):
        for number in range(forks):
            before = drained.passes(sampler)
            child = os.fork()
            if child == 0:
                os._exit(_in_a_child(sampler, starts=number % 10 == 0))
            _, status = os.waitpid(child, 0)
            if status:
                failed[number] = status
            wait_for_passes(sampler, before + 1 - drained.passes(sampler))
    sampler.stop()
    return {"failed": failed, "passes": drained.passes(sampler) >= forks}


def _burn_until(stop: threading.Event) -> None:
    while not stop.is_set():
        burn(1)


def _in_a_child(sampler: core.Sampler, *, starts: bool) -> int:
    """The exit code: 0 if all was as it must be. Ended by a signal if it hangs."""
    signal.alarm(CHILD_S)
    window = sampler.drain()
    if window["samples"] or window["codes"] or window["threads"] or drained.passes(sampler):
        return 1
    if not starts:
        return 0
    try:
        sampler.start()
    except OSError:
        sampler.after_fork()
        sampler.start()
    else:
        return 2
    begin_ns = time.monotonic_ns()
    wait_for_passes(sampler, 3)
    sampler.stop()
    rows = windows.rows_of(sampler.drain())
    is_own = {row.thread[1] for row in rows} <= {0, threading.get_native_id()}
    is_new = all(row.first_ns >= begin_ns - drained.NS_PER_MS * 1_000 for row in rows)
    return 0 if is_own and is_new and windows.total(rows) > 0 else 3


def test_a_forked_child_keeps_the_way_to_read_memory_that_was_asked_for() -> None:
    assert run_alone(backends_around_a_fork) == ["process_vm_readv", 0]


def backends_around_a_fork() -> list[object]:
    sampler = core.Sampler(period_ns=PERIOD_NS, backend="process_vm_readv")
    child = os.fork()
    if child == 0:
        sampler.after_fork()
        os._exit(0 if sampler.health()["backend"] == "process_vm_readv" else 1)
    return [sampler.health()["backend"], os.waitpid(child, 0)[1]]


PROCESSES: dict[str, type[BaseProcess]] = {
    "fork": ForkProcess,
    "spawn": SpawnProcess,
    "forkserver": ForkServerProcess,
}


@pytest.mark.parametrize("method", PROCESSES)
def test_children_of_multiprocessing_can_be_sampled(method: str) -> None:
    assert run_alone(sample_in_children, method) == [0, 0]


def sample_in_children(method: str) -> list[int | None]:
    sampler = new_sampler()
    sampler.start()
    wait_for_passes(sampler)
    processes = [PROCESSES[method](target=_sample_anew) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(CHILD_S)
    wait_for_passes(sampler)
    sampler.stop()
    return [process.exitcode for process in processes]


def _sample_anew() -> None:
    sampler = new_sampler()
    sampler.start()
    wait_for_passes(sampler, 5)
    burn(5)
    sampler.stop()
    me = threading.get_native_id()
    assert any(row.thread[1] == me for row in windows.rows_of(sampler.drain()))


BUSY = """\
def spin():
    while True: sum(range(100))
sampler = _core.Sampler(period_ns=1_000_000, cpu_budget=1.0)
sampler.start()
for _ in range(3): threading.Thread(target=spin, daemon=True).start()
while sampler.health()["passes"] < 5: time.sleep(0.001)
"""
EXITS = {
    "the sampler is never stopped": "",
    "it is stopped at exit": "import atexit; atexit.register(sampler.stop)",
    "sys.exit in atexit": "import atexit; atexit.register(sys.exit, 7)",
    "os._exit from a thread": (
        "import os; threading.Thread(target=lambda: os._exit(0)).start(); time.sleep(60)"
    ),
    "exit() of C from a thread": (
        "import ctypes; threading.Thread(target=lambda: ctypes.CDLL(None).exit(0)).start();"
        "time.sleep(60)"
    ),
    "the main thread ends first": "threading.Thread(target=time.sleep, args=(0.02,)).start()",
}


@pytest.mark.parametrize("kind", EXITS)
def test_a_program_can_exit_while_it_is_sampled(kind: str) -> None:
    for _ in range(EXITS_OF_A_KIND):
        done = run_program(BUSY + EXITS[kind])
        assert done.returncode == 0, (done.returncode, done.stderr)
        assert "Fatal" not in done.stderr


HOST = r"""
#include <Python.h>
#include <stdlib.h>
int
main(int argc, char **argv)
{
    const int loops = argc > 2 ? atoi(argv[1]) : 0;
    for (int i = 0; i < loops; i++) {
        Py_InitializeEx(0);
        const int failed = PyRun_SimpleString(argv[2]);
        if (Py_FinalizeEx() < 0 || failed) {
            return 1;
        }
    }
    return 0;
}
"""
# Each function dies before the next one is made, often at the same address.
EMBEDDED = """
sampler = _core.Sampler(period_ns=1_000_000, cpu_budget=1.0)
sampler.start()
for i in range(20):
    names = {"sampler": sampler}
    source = f"def f_{i}():\\n end = sampler.health()['passes'] + 3\\n while sampler.health()['passes'] < end: pass"
    exec(source, names)
    names[f"f_{i}"]()
    names.clear()
window = sampler.drain()
seen = {name for _, name, _ in window["codes"] if name.startswith("f_")}
print("functions", len(seen))
"""


def test_an_interpreter_can_be_finalized_and_begun_again_while_it_is_sampled(
    tmp_path: Path,
) -> None:
    host = _build_host(tmp_path)
    command = [str(host), str(EMBEDDED_LOOPS), alone.ONLY_THE_CORE + EMBEDDED]
    environment = {**os.environ, "PYTHONHOME": sys.base_prefix}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    seen = [int(line.split()[1]) for line in done.stdout.splitlines()]
    assert len(seen) == EMBEDDED_LOOPS
    # Each is there for three passes; a dead one's name would hide others.
    assert min(seen) >= 19, seen


def _build_host(folder: Path) -> Path:
    program = support.compiler()
    if program is None or not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        pytest.skip("there is no compiler, or no libpython to link with")
    source, host = folder / "host.c", folder / "host"
    source.write_text(HOST)
    library = sysconfig.get_config_var("LIBDIR")
    command = [program, "-o", str(host), str(source), f"-I{sysconfig.get_path('include')}"]
    command += [
        f"-L{library}",
        f"-Wl,-rpath,{library}",
        f"-lpython{sysconfig.get_python_version()}",
    ]
    subprocess.run(command, check=True, timeout=60)
    return host


SUBINTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
main = _core.Sampler(period_ns=1_000_000, cpu_budget=1.0)
main.start()
program = PRELUDE + '''
_core.Sampler(period_ns=1_000_000)
'''
for config in CONFIGS:
    inner = interpreters.create(**config)
    try:
        print("refused:", interpreters.run_string(inner, program))
    except Exception as error:
        print("refused:", error)
    interpreters.run_string(inner, "for i in range(100_000): i * i")
    interpreters.destroy(inner)
passes = main.health()["passes"]
while main.health()["passes"] <= passes: time.sleep(0.001)
print("main goes on")
"""


def test_a_subinterpreter_is_refused_and_the_main_interpreter_goes_on() -> None:
    configs = "[{}]" if sys.version_info >= (3, 13) else '[{"isolated": True}, {"isolated": False}]'
    program = SUBINTERPRETER.replace("PRELUDE", repr(alone.ONLY_THE_CORE))
    done = run_program(program.replace("CONFIGS", configs))
    assert done.returncode == 0, (done.returncode, done.stderr)
    *refusals, last = done.stdout.splitlines()
    assert last == "main goes on"
    assert refusals
    for refusal in refusals:
        assert "subinterpreter" in refusal, refusal
