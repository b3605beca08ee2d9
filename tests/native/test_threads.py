"""T13: threads come and go as fast as the interpreter can, and no sample is that of a dead one."""

import _thread
import ctypes
import queue
import re
import subprocess
import threading
import time
import types
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.native import support
from tests.native.windows import Goal, Recording, Row, recordings, say, total

PASSES = 1_200
LIVES = PASSES // 4  # more than these are lived
BATCH = 8
NAME = re.compile(r"body_(\d+)$")


def work(n: int) -> int:
    for _ in range(n):
        pass
    return n


@dataclass(slots=True)
class Lives:
    """Whose code each thread ran, and when it was over at the latest, by native id."""

    of_thread: dict[int, list[tuple[int, int]]] = field(
        default_factory=dict[int, list[tuple[int, int]]]
    )
    count: int = 0

    def add(self, native_id: int, number: int, end_ns: int) -> None:
        self.of_thread.setdefault(native_id, []).append((number, end_ns))
        self.count += 1

    def are_too_few(self, goal: Goal) -> bool:
        """However few a busy machine has for the passes that are wanted."""
        return self.count <= LIVES and not goal.is_cancelled

    def is_possible(self, row: Row, others: Collection[int]) -> bool:
        """Whether a thread with this id ran this code, and had not ended by then; `others` are there all the time."""
        numbers = {int(found[1]) for name in row.names if (found := NAME.match(name))}
        return (row.thread[1] in others and not numbers) or any(
            numbers <= {number} and (row.last_ns <= end_ns or not numbers)
            for number, end_ns in self.of_thread.get(row.thread[1], ())
        )


def body(number: int) -> Callable[[int], int]:
    name = f"body_{number}"
    code = work.__code__.replace(co_name=name, co_qualname=name)
    return types.FunctionType(code, globals())


def length_of(number: int) -> int:
    return 500 + number % 7 * 1_000


class BareThreads:
    """Threads of `_thread`, the fastest that Python has."""

    def __init__(self) -> None:
        self.lives = Lives()
        self._ended: queue.SimpleQueue[tuple[int, int, int]] = queue.SimpleQueue()

    def _one(self, number: int) -> None:
        body(number)(length_of(number))
        self._ended.put((threading.get_native_id(), number, time.monotonic_ns()))

    def run(self, goal: Goal) -> None:
        while not goal.is_reached() or self.lives.are_too_few(goal):
            for i in range(BATCH):
                _thread.start_new_thread(self._one, (self.lives.count + i,))
            for native_id, number, end_ns in [self._ended.get() for _ in range(BATCH)]:
                self.lives.add(native_id, number, end_ns)


class JoinedThreads:
    """Threads of `threading`, whose end is certain. There are fewer in a second, so each works for longer."""

    TIMES = 4

    def __init__(self) -> None:
        self.lives = Lives()

    def run(self, goal: Goal) -> None:
        while not goal.is_reached() or self.lives.are_too_few(goal):
            numbers = range(self.lives.count, self.lives.count + BATCH)
            threads = [
                threading.Thread(target=body(i), args=(self.TIMES * length_of(i),)) for i in numbers
            ]
            for thread in threads:
                thread.start()
            for number, thread in zip(numbers, threads, strict=True):
                thread.join()
                self.lives.add(thread.native_id or 0, number, time.monotonic_ns())


CALLBACK = ctypes.CFUNCTYPE(None)
ENTERING = """
#include <pthread.h>
#include <stdlib.h>

typedef struct { void (*callback)(void); int times; } task;

static void *run(void *argument)
{
    task *t = argument;
    for (int i = 0; i < t->times; i++) {
        t->callback();
    }
    free(t);
    return NULL;
}

/* A thread of C that enters Python, and leaves it, so many times. */
int start(void (*callback)(void), int times, pthread_t *thread)
{
    task *t = malloc(sizeof *t);
    *t = (task){callback, times};
    return pthread_create(thread, NULL, run, t);
}

int join(pthread_t thread) { return pthread_join(thread, NULL); }
"""


class ThreadsOfC:
    """Threads that Python did not start, each of which enters and leaves it some times."""

    TIMES = 4

    def __init__(self, library: Path) -> None:
        functions = ctypes.CDLL(str(library))
        self.lives = Lives()
        self._start, self._join = functions.start, functions.join
        self._start.argtypes = (CALLBACK, ctypes.c_int, ctypes.POINTER(ctypes.c_ulong))
        self._join.argtypes = (ctypes.c_ulong,)

    def _begin(self, number: int, ids: dict[int, int]) -> tuple[object, ctypes.c_ulong]:
        run = body(number)

        def enter() -> None:
            ids[number] = threading.get_native_id()
            run(length_of(number) // self.TIMES)

        callback, thread = CALLBACK(enter), ctypes.c_ulong()
        assert self._start(callback, self.TIMES, ctypes.byref(thread)) == 0
        return callback, thread

    def run(self, goal: Goal) -> None:
        while not goal.is_reached() or self.lives.are_too_few(goal):
            numbers = range(self.lives.count, self.lives.count + BATCH)
            ids: dict[int, int] = {}
            begun = [self._begin(number, ids) for number in numbers]
            for number, (_callback, thread) in zip(numbers, begun, strict=True):
                self._join(thread)
                self.lives.add(ids[number], number, time.monotonic_ns())


def check(lives: Lives, found: Iterable[Recording]) -> None:
    of_bodies = 0
    for recording in found:
        others = {recording.thread[1], *(thread.native_id or 0 for thread in threading.enumerate())}
        impossible = [
            row for row in recording.rows if row.samples and not lives.is_possible(row, others)
        ]
        assert not impossible, [(row.names[:3], row.thread, row.last_ns) for row in impossible[:5]]
        ended = [row for row in recording.rows if row.thread[1] in lives.of_thread]
        of_bodies += total(ended)
        seconds = recording.elapsed_ns / 1e9
        say(f"{lives.count} threads, {lives.count / seconds:.0f} a second; {of_bodies} samples")
        assert recording.samples() == recording.passes
        assert recording.health["threads_refused"] == 0
    assert of_bodies > PASSES / 120
    assert lives.count > LIVES


@pytest.mark.parametrize("kind", [BareThreads, JoinedThreads])
def test_t13_thread_churn_gives_no_sample_of_a_dead_thread(
    kind: type[BareThreads | JoinedThreads],
) -> None:
    threads = kind()
    check(threads.lives, recordings(threads.run, passes=PASSES))


def test_t13_threads_of_c_that_enter_and_leave_python_are_told_apart(tmp_path: Path) -> None:
    compiler = support.compiler()
    if compiler is None:
        pytest.skip("no C compiler: set CC, or install gcc")
    source, library = tmp_path / "entering.c", tmp_path / "entering.so"
    source.write_text(ENTERING)
    subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", "-pthread", "-o", library, source], check=True
    )
    threads = ThreadsOfC(library)
    check(threads.lives, recordings(threads.run, passes=PASSES))
