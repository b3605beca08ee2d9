"""T1: of tasks that take turns as fast as they can, no sample has another task's span."""

import asyncio
import ctypes
import importlib.util
import types
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any, cast

import pytest
from opentelemetry.trace.propagation import _SPAN_KEY

from tests.native.installed import core
from tests.native.spans import Spans, Tally, Work
from tests.native.windows import Goal, Recording, Workload, recordings, say

UNKNOWN_MOST = 0.05
PASSES = 1_500
# PyContextVar's: object, name, default, cached value, thread and version, hash (pycore_context.h).
HASH_AT = 56

# How long the work of a turn is. Most turns are shorter than any reading of a stack, so that the label
# changes under it; in one the label stands still, so that it is known on the fastest machine too.
TURNS = (10,) * 400 + (3_000,)

LOOPS = ["asyncio", "uvloop"]
Body = Callable[[Work, Goal], Coroutine[Any, Any, None]]


@pytest.fixture(autouse=True)
def _labels() -> Iterator[None]:
    core.set_labels(enabled=True, span_key=_SPAN_KEY)
    yield
    core.set_labels(enabled=False)


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    if name == "asyncio":
        return asyncio.new_event_loop()
    if importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed")
    loop = importlib.import_module("uvloop").new_event_loop()
    return cast("asyncio.AbstractEventLoop", loop)


async def task(work: Work, goal: Goal) -> None:
    while not goal.is_reached():
        work(10)
        await asyncio.sleep(0)


def task_of(index: int) -> Body:
    name = f"task_{index}"
    code = task.__code__.replace(co_name=name, co_qualname=name)
    return types.FunctionType(code, globals())


def flutter(spans: Spans, loop_name: str, others: list[ContextVar[int]]) -> Workload:
    bodies = [task_of(index) for index in range(spans.count + 1)]

    async def one(index: int, goal: Goal) -> None:
        for other in others:
            other.set(index)
        with spans.current(index):
            await bodies[index](spans.works[index], goal)

    async def main(goal: Goal) -> None:
        tasks: list[Awaitable[None]] = [one(index + 1, goal) for index in range(spans.count)]
        await asyncio.gather(*tasks)

    def workload(goal: Goal) -> None:
        with asyncio.Runner(loop_factory=lambda: new_loop(loop_name)) as runner:
            runner.run(main(goal))

    return workload


def check(spans: Spans, workload: Workload, unknown_most: float = UNKNOWN_MOST) -> Tally:
    total = Tally()
    last: Recording | None = None
    for last in recordings(workload, passes=PASSES, settings={"var": spans.var}, apart=True):
        total.add(last.of_thread())
        total.assert_right(unknown_most=unknown_most)
    assert last is not None
    assert total.right
    say({name: last.health[name] for name in ("retries", "truncated", "torn", "span_unknown")})
    return total


@pytest.mark.parametrize(
    ("loop", "tasks", "variables"),
    [
        ("asyncio", 20, 0),
        ("asyncio", 20, 200),
        ("asyncio", 200, 30),
        ("uvloop", 20, 30),
        ("uvloop", 200, 0),
    ],
)
def test_t1_of_fluttering_tasks_none_has_the_span_of_another(
    loop: str, tasks: int, variables: int
) -> None:
    spans = Spans(tasks)
    others = [ContextVar[int](f"other_{index}") for index in range(variables)]
    check(spans, flutter(spans, loop, others))


def collide(var: ContextVar[Any], like: ContextVar[Any]) -> None:
    """Give `var`, which is not used yet, the hash of another."""
    stored = ctypes.c_ssize_t.from_address(id(var) + HASH_AT)
    assert stored.value == hash(var)
    stored.value = hash(like)
    assert hash(var) == hash(like)


@pytest.mark.parametrize("others", [1, 3, 40])
def test_t1_of_variables_with_the_same_hash_the_right_one_is_read(others: int) -> None:
    spans = Spans(20)
    variables = [ContextVar[int](f"other_{index}") for index in range(others)]
    for variable in variables[:3]:
        collide(variable, spans.var)
    check(spans, flutter(spans, "asyncio", variables))


def in_contexts_of_their_own(spans: Spans) -> Workload:
    """Two contexts entered in turn by one function: nothing differs but the label and the leaf."""
    contexts = [copied_with(spans, index) for index in (1, 2)]

    def workload(goal: Goal) -> None:
        enter = [context.run for context in contexts]
        works = spans.works[1:3]
        while not goal.is_reached():
            for n in TURNS:
                enter[0](works[0], n)
                enter[1](works[1], n)

    return workload


def in_contexts_for_one_call(spans: Spans) -> Workload:
    """Copies that end with the call and begin anew in the same memory, with the other span in them."""
    contexts = [copied_with(spans, index) for index in (1, 2)]

    def workload(goal: Goal) -> None:
        copy = [context.copy for context in contexts]
        works = spans.works[1:3]
        while not goal.is_reached():
            for n in TURNS:
                copy[0]().run(works[0], n)
                copy[1]().run(works[1], n)

    return workload


def in_tries_for_one_call(spans: Spans) -> Workload:
    """The same, and what leads from the Context to the label is made anew and ends with it."""
    contexts = [copied_with(spans, index) for index in (1, 2)]
    other = ContextVar[int]("other")

    def call(work: Work, n: int) -> None:
        other.set(1)
        work(n)

    def workload(goal: Goal) -> None:
        copy = [context.copy for context in contexts]
        works = spans.works[1:3]
        while not goal.is_reached():
            for n in TURNS:
                copy[0]().run(call, works[0], n)
                copy[1]().run(call, works[1], n)

    return workload


def copied_with(spans: Spans, index: int) -> Any:
    contextvars = importlib.import_module("contextvars")
    context = contextvars.copy_context()
    context.run(spans.runtime.attach, spans.contexts[index])
    return context


def attached_in_turn(spans: Spans) -> Workload:
    def workload(goal: Goal) -> None:
        attach, detach = spans.runtime.attach, spans.runtime.detach
        (_, first, second), (outside, in_first, in_second) = spans.contexts, spans.works
        while not goal.is_reached():
            for n in TURNS:
                token = attach(first)
                in_first(n)
                detach(token)
                outside(n)
                token = attach(second)
                in_second(n)
                detach(token)

    return workload


def set_in_turn(spans: Spans) -> Workload:
    """Labels that somebody has found in one Context and sets in another, as asgiref does: no attach, no detach."""
    labels = [copied_with(spans, index)[spans.var] for index in (1, 2)]

    def workload(goal: Goal) -> None:
        first, second = spans.works[1:3]
        while not goal.is_reached():
            for n in TURNS:
                spans.var.set(labels[0])
                first(n)
                spans.var.set(labels[1])
                second(n)

    return workload


def set_around_another(spans: Spans) -> Workload:
    """Variables of the application's own, so that the trie of one Context begins where that of another was."""
    contexts = [copied_with(spans, index) for index in (1, 2)]
    other = ContextVar[int]("other")

    def inner(work: Work, n: int) -> None:
        other.set(1)
        other.set(2)
        work(n)

    def outer(goal: Goal) -> None:
        first, second = spans.works[1:3]
        run = contexts[1].run
        while not goal.is_reached():
            for n in TURNS:
                first(n)
                other.set(1)
                run(inner, second, n)
                other.set(2)

    return lambda goal: contexts[0].run(outer, goal)


@pytest.mark.parametrize(
    "change",
    [
        set_in_turn,
        set_around_another,
        in_contexts_of_their_own,
        in_contexts_for_one_call,
        in_tries_for_one_call,
        attached_in_turn,
    ],
)
def test_t1_a_label_that_changes_around_the_leaf_is_never_the_other(
    change: Callable[[Spans], Workload],
) -> None:
    spans = Spans(2)
    # In the short turns the label often is not known; it is never wrong.
    found = check(spans, change(spans), unknown_most=0.95)
    found.assert_seen(1, 2)
