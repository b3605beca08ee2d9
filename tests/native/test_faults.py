"""T15, bad input and faults: the application runs on, the sampler degrades or refuses."""

import contextlib
import ctypes
import faulthandler
import gc
import os
import resource
import signal
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from tests.native import drained, windows
from tests.native.alone import run_alone, run_program
from tests.native.drained import burn, sampling_threads, wait_for_passes
from tests.native.installed import IS_SANITIZED, core
from tests.native.sandbox import MEMFD_CREATE, PREAD64, PROCESS_VM_READV, forbid

PERIOD_NS = 1_000_000
RT_SIGACTION = 13  # Linux, arch/x86/entry/syscalls/syscall_64.tbl
KERNEL_SIGACTION_BYTES = 32
NOBODY = 65534
PERIOD = {"period_ns": PERIOD_NS}

BAD_ARGUMENTS: list[tuple[dict[str, object], type[Exception], tuple[str, ...]]] = [
    ({}, TypeError, ("period_ns",)),
    ({"period_ns": 999_999}, ValueError, ("period_ns", "999999", "1000000", "1000000000")),
    ({"period_ns": 1_000_000_001}, ValueError, ("period_ns", "1000000001", "1000000000")),
    ({"period_ns": -(2**63)}, ValueError, ("period_ns", str(-(2**63)), "1000000")),
    ({"period_ns": 10**20}, ValueError, ("period_ns", str(10**20), "1000000000")),
    ({"period_ns": "x"}, TypeError, ("period_ns", "str")),
    ({"period_ns": 1.5e6}, TypeError, ("period_ns", "float")),
    ({**PERIOD, "cpu_budget": 0.0}, ValueError, ("cpu_budget", "0.0", "above 0", "1")),
    ({**PERIOD, "cpu_budget": -0.5}, ValueError, ("cpu_budget", "-0.5")),
    ({**PERIOD, "cpu_budget": 1.01}, ValueError, ("cpu_budget", "1.01")),
    ({**PERIOD, "cpu_budget": float("nan")}, ValueError, ("cpu_budget", "nan")),
    ({**PERIOD, "cpu_budget": float("inf")}, ValueError, ("cpu_budget", "inf")),
    ({**PERIOD, "cpu_budget": "x"}, TypeError, ("cpu_budget", "str")),
    ({**PERIOD, "var": 3}, TypeError, ("var", "int", "ContextVar")),
    ({**PERIOD, "max_depth": 1}, ValueError, ("max_depth", "1", "2", "1024")),
    ({**PERIOD, "max_depth": 1_025}, ValueError, ("max_depth", "1025", "1024")),
    ({**PERIOD, "max_depth": 2**40}, ValueError, ("max_depth", str(2**40), "1024")),
    ({**PERIOD, "max_depth": "x"}, TypeError, ("max_depth", "str")),
    (
        {**PERIOD, "backend": "x"},
        ValueError,
        ("backend", "'x'", "memfd", "process_vm_readv", "proc_mem"),
    ),
    ({**PERIOD, "backend": 3}, TypeError, ("backend", "int")),
    ({**PERIOD, "backend": "a\0b"}, ValueError, ("backend",)),
    ({**PERIOD, "rate": 3}, TypeError, ("rate",)),
]


# Without the types of the arguments: theirs are wrong on purpose.
_new: Callable[..., core.Sampler] = core.Sampler


@pytest.mark.parametrize(("arguments", "kind", "parts"), BAD_ARGUMENTS)
def test_a_bad_argument_is_named_with_its_value_and_its_range(
    arguments: dict[str, Any], kind: type[Exception], parts: tuple[str, ...]
) -> None:
    with pytest.raises(kind) as caught:
        _new(**arguments)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


@pytest.mark.parametrize("period_ns", [0, -1, 10**9 + 1, 10**30])
def test_a_bad_period_is_refused_while_it_runs(period_ns: int) -> None:
    sampler = core.Sampler(period_ns=PERIOD_NS)
    with pytest.raises(ValueError, match=f"period_ns: {period_ns} is not between"):
        sampler.set_period_ns(period_ns)
    assert sampler.health()["period_ns"] == PERIOD_NS


@pytest.mark.parametrize("native_id", [0, -1, 2**40, 2**80])
def test_what_cannot_be_a_thread_cannot_be_left_out(native_id: int) -> None:
    with pytest.raises(ValueError, match=f"native_id: {native_id} "):
        core.Sampler(period_ns=PERIOD_NS).leave_out(native_id)


@pytest.mark.parametrize(
    ("forbidden", "backend"),
    [
        ([], "memfd"),
        ([MEMFD_CREATE], "process_vm_readv"),
        ([MEMFD_CREATE, PROCESS_VM_READV], "proc_mem"),
    ],
)
def test_what_a_sandbox_forbids_is_done_in_the_next_best_way(
    forbidden: list[int], backend: str
) -> None:
    found = run_alone(sample_in_a_sandbox, forbidden)
    assert found == {"backend": backend, "saw itself": True}


def test_where_everything_is_forbidden_the_constructor_says_so_and_the_program_goes_on() -> None:
    found = run_alone(sample_in_a_sandbox, [MEMFD_CREATE, PROCESS_VM_READV, PREAD64])
    assert found == {"error": "PermissionError", "threads": 1}


def sample_in_a_sandbox(forbidden: list[int]) -> dict[str, object]:
    forbid(forbidden)
    try:
        sampler = core.Sampler(period_ns=PERIOD_NS, cpu_budget=1.0)
    except OSError as error:
        threads = len(list(Path("/proc/self/task").iterdir()))
        return {"error": type(error).__name__, "threads": threads}
    return {"backend": sampler.health()["backend"], "saw itself": _sees_itself(sampler)}


def _sees_itself(sampler: core.Sampler) -> bool:
    sampler.start()
    _be_sampled(sampler)
    sampler.stop()
    rows = windows.rows_of(sampler.drain())
    return windows.total(windows.named(rows, "_be_sampled")) >= 0.9 * windows.total(rows) > 0


def _be_sampled(sampler: core.Sampler) -> None:
    for _ in range(5):
        burn(5)
        wait_for_passes(sampler, 2)


def test_without_descriptors_it_reads_in_a_way_that_needs_none() -> None:
    assert run_alone(sample_without_descriptors) == ["process_vm_readv", True]


def sample_without_descriptors() -> list[object]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
    sampler = core.Sampler(period_ns=PERIOD_NS, cpu_budget=1.0)
    return [sampler.health()["backend"], _sees_itself(sampler)]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become someone who may have no thread")
def test_a_refused_thread_is_an_oserror_and_nothing_else() -> None:
    assert run_alone(start_without_a_thread) == ["BlockingIOError", 0, True]


def start_without_a_thread() -> list[object]:
    sampler = core.Sampler(period_ns=PERIOD_NS, cpu_budget=1.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, hard))
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        sampler.start()
        refused = "not refused"
    except OSError as error:
        refused = type(error).__name__
    threads = sampling_threads()
    os.setresuid(0, 0, 0)
    resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
    return [refused, threads, _sees_itself(sampler)]


def test_no_memory_is_an_oserror() -> None:
    assert run_alone(make_without_memory) == "OSError"


def make_without_memory() -> str:
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (8 << 20), -1))
    try:
        core.Sampler(period_ns=PERIOD_NS)
    except OSError as error:
        return type(error).__name__
    return "not refused"


def test_windows_are_whole_where_all_memory_is_locked() -> None:
    """There the kernel takes no pages back: MADV_DONTNEED fails and leaves what was in them."""
    assert run_alone(drain_with_memory_locked) == []


def drain_with_memory_locked() -> list[str]:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(3) != 0:  # MCL_CURRENT | MCL_FUTURE
        return []
    sampler = core.Sampler(period_ns=PERIOD_NS, cpu_budget=1.0)
    sampler.start()
    wrong: list[str] = []
    for number in range(6):
        begin_ns = time.monotonic_ns()
        _be_sampled(sampler)
        took_ns = time.monotonic_ns() - begin_ns
        mine = [
            row
            for row in windows.rows_of(sampler.drain())
            if row.thread[1] == threading.get_native_id()
        ]
        if drained.wall_ns_of(mine) < 0.9 * took_ns:
            wrong.append(f"window {number}: {drained.wall_ns_of(mine)} of {took_ns} ns")
    sampler.stop()
    return wrong


def test_no_signal_handler_is_changed() -> None:
    assert run_alone(signal_handlers_changed) == []


def signal_handlers_changed() -> list[str]:
    """In which steps of a sampler's life a handler changed."""
    changed: list[str] = []
    actions = _actions()

    def look(step: str) -> None:
        if _actions() != actions:
            changed.append(step)

    signal.signal(signal.SIGSEGV, _on_fault)
    actions = _actions()
    sampler = core.Sampler(period_ns=PERIOD_NS, cpu_budget=1.0)
    sampler.start()
    wait_for_passes(sampler, 5)
    look("with a handler of another's")
    for tool in (faulthandler.enable, faulthandler.disable, faulthandler.enable):
        tool()
        actions = _actions()
        wait_for_passes(sampler, 5)
        look(f"after {tool.__name__}")
    sampler.stop()
    del sampler
    gc.collect()
    look("at the end")
    return changed


def _on_fault(_number: int, _frame: FrameType | None) -> None:
    """A handler that is not ours."""


def _actions() -> dict[int, bytes]:
    """What the kernel knows of every signal: handler, flags, restorer, mask."""
    libc = ctypes.CDLL(None, use_errno=True)
    actions: dict[int, bytes] = {}
    for number in signal.valid_signals():
        action = ctypes.create_string_buffer(KERNEL_SIGACTION_BYTES)
        done = libc.syscall(RT_SIGACTION, int(number), None, action, ctypes.c_size_t(8))
        assert done == 0, os.strerror(ctypes.get_errno())
        actions[int(number)] = action.raw
    return actions


@pytest.mark.skipif(IS_SANITIZED, reason="AddressSanitizer reports crashes itself")
@pytest.mark.parametrize("order", ["before", "after"])
def test_a_crash_is_reported_by_faulthandler_as_ever(order: str) -> None:
    enable = "import faulthandler; faulthandler.enable()\n"
    sample = "s = _core.Sampler(period_ns=1_000_000, cpu_budget=1.0); s.start()\n"
    wait = "while s.health()['passes'] < 5: time.sleep(0.001)\n"
    crash = "import ctypes; ctypes.string_at(0)\n"
    program = enable + sample if order == "before" else sample + enable
    done = run_program(f"import resource; resource.setrlimit(4, (0, 0))\n{program}{wait}{crash}")
    assert done.returncode == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in done.stderr


@contextlib.contextmanager
def _tracing_memory() -> Iterator[None]:
    tracemalloc.start(5)
    yield
    tracemalloc.stop()


@contextlib.contextmanager
def _tracing_lines() -> Iterator[None]:
    """As coverage and debuggers do, up to 3.11 and where they must."""
    before = sys.gettrace()

    def trace(_frame: FrameType, _event: str, _argument: object) -> Any:
        return trace

    sys.settrace(trace)
    yield
    sys.settrace(before)


@contextlib.contextmanager
def _monitoring_lines() -> Iterator[None]:
    """As coverage and debuggers do from 3.12 on."""
    if sys.version_info < (3, 12):
        pytest.skip("sys.monitoring is of 3.12")
    monitoring = sys.monitoring
    tool = monitoring.DEBUGGER_ID
    monitoring.use_tool_id(tool, "test")

    def on_line(_code: CodeType, _line: int) -> None:
        pass

    monitoring.register_callback(tool, monitoring.events.LINE, on_line)
    monitoring.set_events(tool, monitoring.events.LINE)
    yield
    monitoring.set_events(tool, 0)
    monitoring.free_tool_id(tool)


@pytest.mark.parametrize("tool", [_tracing_memory, _tracing_lines, _monitoring_lines])
def test_other_tools_run_along(tool: Any) -> None:
    with drained.sampling(PERIOD_NS) as run, tool():
        for _ in range(10):  # some 400 samples
            _be_sampled(run.sampler)
    mine = run.of(threading.get_native_id())
    seen = windows.total(windows.named(mine, "_be_sampled"))
    assert seen >= 0.8 * windows.total(mine), {row.names[:4]: row.samples for row in mine}
    assert windows.total(windows.named(mine, windows.UNREAD)) <= 0.01 * windows.total(mine)
    assert run.wall_ns.hold(drained.wall_ns_of(mine))
