"""T22: subinterpreters come and go, with a GIL of their own too; what the main one does is labelled as ever."""

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.trace.propagation import _SPAN_KEY

from tests.native.installed import core
from tests.native.spans import Spans, tally
from tests.native.windows import Goal, record, say

PASSES = 800
LONG = 5_000
PROGRAM = """
import contextvars
variable = contextvars.ContextVar("of_the_subinterpreter")
def in_the_subinterpreter(n):
    for i in range(n):
        variable.set(i)
        exec("def made(): pass", {})
in_the_subinterpreter(300)
"""


def run_in_new_one() -> Callable[[], None]:
    """Makes a subinterpreter, with a GIL of its own where there is such a thing, and has it run PROGRAM."""
    if sys.version_info >= (3, 14):
        interpreters: Any = importlib.import_module("concurrent.interpreters")

        def run() -> None:
            interpreter = interpreters.create()
            interpreter.exec(PROGRAM)
            interpreter.close()

        return run
    name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    module: Any = importlib.import_module(name)

    def run_by_id() -> None:
        interpreter = module.create()
        module.run_string(interpreter, PROGRAM)
        module.destroy(interpreter)

    return run_by_id


@pytest.fixture(autouse=True)
def _labels() -> Iterator[None]:
    core.set_labels(enabled=True, span_key=_SPAN_KEY)
    yield
    core.set_labels(enabled=False)


def test_t22_subinterpreters_leave_the_labels_of_the_main_one_alone() -> None:
    run, spans, made = run_in_new_one(), Spans(2), 0

    def beside(goal: Goal) -> None:
        nonlocal made
        while not goal.is_reached():
            run()
            made += 1

    def workload(goal: Goal) -> None:
        other = threading.Thread(target=beside, args=(goal,))
        other.start()
        while not goal.is_reached():
            for index in (1, 2, 0):
                with spans.current(index):
                    spans.works[index](LONG)
        other.join()

    recording = record(workload, passes=PASSES, settings={"var": spans.var})
    found = tally(recording.of_thread())
    say(f"{made} subinterpreters")
    found.assert_right(unknown_most=0.05)
    found.assert_seen(0, 1, 2)
    assert made > 0
    assert not any("in_the_subinterpreter" in row.names for row in recording.rows)
