"""The stacks of threads that go on while they are read are true."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

from otelprof.pull.threads_now import ThreadsNow

LOOKS = 60
DEPTH = 100


def first() -> int:
    return sum(range(50))


def second() -> int:
    return max(range(50))


def alternate(end: threading.Event) -> None:
    while not end.is_set():
        first()
        second()


LINE_OF = {
    name: alternate.__code__.co_firstlineno + offset
    for name, offset in (("first", 2), ("second", 3))
}


def wait_deep(end: threading.Event, depth: int = DEPTH) -> None:
    """Gives a look much to follow meanwhile."""
    if depth:
        wait_deep(end, depth - 1)
    else:
        end.wait()


@contextmanager
def running(*bodies: Callable[[threading.Event], None]) -> Iterator[None]:
    end = threading.Event()
    threads = [threading.Thread(target=body, args=(end,)) for body in bodies]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join()


def stack_lines() -> Iterator[list[tuple[str, int]]]:
    """Of each stack, the names of functions and their lines, leaf first."""
    profile = ThreadsNow(is_text=False).profile()
    tables = profile.tables
    for stack in profile.stack:
        yield [
            (tables.function_name(row).rpartition(".")[2], tables.frames[row].line)
            for row in tables.stacks[stack]
        ]


def test_a_caller_is_at_the_line_that_calls() -> None:
    pairs = 0
    with running(alternate, *[wait_deep] * 50, alternate):
        for _ in range(LOOKS):
            for stack in stack_lines():
                for (name, _), (caller, line) in pairwise(stack):
                    if caller == "alternate" and name in LINE_OF:
                        assert line == LINE_OF[name]
                        pairs += 1
                    if name == "wait_deep":
                        assert caller in {"wait_deep", "run"}
    assert pairs


def test_nothing_of_the_program_is_kept() -> None:
    class Held:
        pass

    def hold(end: threading.Event) -> None:
        held = Held()
        kept.append(weakref.ref(held))
        has_begun.set()
        end.wait()

    kept: list[weakref.ref[Held]] = []
    has_begun = threading.Event()
    gc.disable()
    try:
        with running(hold):
            has_begun.wait()
            assert list(stack_lines())
        assert [reference() for reference in kept] == [None]
    finally:
        gc.enable()
