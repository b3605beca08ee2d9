"""T2: whatever a span is carried by, samples in it have its label, and samples outside of it have none."""

import asyncio
import contextvars
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace.propagation import _SPAN_KEY

from tests.native.alone import run_alone
from tests.native.installed import core
from tests.native.spans import Spans, Tally, span_of, tally
from tests.native.windows import Goal, Recording, Workload, record

PASSES = 250
LONG = 20_000  # about a millisecond of work
# A thread that is sampled in parallel with a change of its label may have one that is not known.
UNKNOWN_MOST = 0.02


@pytest.fixture(autouse=True)
def _labels() -> Iterator[None]:
    core.set_labels(enabled=True, span_key=_SPAN_KEY)
    yield
    core.set_labels(enabled=False)


@pytest.fixture
def spans() -> Spans:
    return Spans(3)


def labels_of(spans: Spans, workload: Workload, *, unknown_most: float = UNKNOWN_MOST) -> Tally:
    """What the labels of all threads' samples were, of which none may be wrong."""
    recording = record(workload, passes=PASSES, settings={"var": spans.var})
    found = tally(recording.rows)
    found.assert_right(unknown_most=unknown_most)
    return found


def until(goal: Goal, step: Callable[[], object]) -> None:
    while not goal.is_reached():
        step()


def test_t2_nested_spans_label_with_the_innermost(spans: Spans) -> None:
    def step() -> None:
        with spans.current(1):
            spans.works[1](LONG)
            with spans.current(2):
                spans.works[2](LONG)
            spans.works[1](LONG)

    labels_of(spans, lambda goal: until(goal, step)).assert_seen(1, 2)


def test_t2_after_detach_there_is_no_label(spans: Spans) -> None:
    def step() -> None:
        with spans.current(1):
            spans.works[1](LONG)
        spans.works[0](LONG)

    labels_of(spans, lambda goal: until(goal, step)).assert_seen(0, 1)


def test_t2_every_thread_has_its_own_span(spans: Spans) -> None:
    def in_span(index: int, goal: Goal) -> None:
        with spans.current(index):
            until(goal, lambda: spans.works[index](LONG))

    def workload(goal: Goal) -> None:
        others = [threading.Thread(target=in_span, args=(index, goal)) for index in (1, 2)]
        for other in others:
            other.start()
        until(goal, lambda: spans.works[0](LONG))
        for other in others:
            other.join()

    labels_of(spans, workload).assert_seen(0, 1, 2)


def test_t2_to_thread_carries_the_span_of_its_caller(spans: Spans) -> None:
    async def main(goal: Goal) -> None:
        while not goal.is_reached():
            with spans.current(1):
                await asyncio.to_thread(spans.works[1], LONG)

    labels_of(spans, lambda goal: asyncio.run(main(goal))).assert_seen(1)


def test_t2_run_in_executor_carries_no_span(spans: Spans) -> None:
    async def main(goal: Goal) -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as pool, spans.current(1):
            while not goal.is_reached():
                await loop.run_in_executor(pool, spans.works[0], LONG)
                spans.works[1](LONG)

    labels_of(spans, lambda goal: asyncio.run(main(goal))).assert_seen(0, 1)


def test_t2_a_child_task_inherits_the_span(spans: Spans) -> None:
    async def child(goal: Goal) -> None:
        while not goal.is_reached():
            spans.works[1](LONG)
            await asyncio.sleep(0)

    async def main(goal: Goal) -> None:
        with spans.current(1):
            task = asyncio.create_task(child(goal))
        while not task.done():
            spans.works[0](LONG)
            await asyncio.sleep(0)

    labels_of(spans, lambda goal: asyncio.run(main(goal))).assert_seen(0, 1)


def test_t2_a_callback_runs_in_the_span_of_who_called_soon(spans: Spans) -> None:
    async def main(goal: Goal) -> None:
        loop = asyncio.get_running_loop()
        while not goal.is_reached():
            with spans.current(1):
                loop.call_soon(spans.works[1], LONG)
            loop.call_soon(spans.works[0], LONG)
            await asyncio.sleep(0)

    labels_of(spans, lambda goal: asyncio.run(main(goal))).assert_seen(0, 1)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_t2_an_eager_task_has_its_own_span_within_that_of_its_creator(spans: Spans) -> None:
    async def child() -> None:
        spans.works[1](LONG)
        with spans.current(2):
            spans.works[2](LONG)
            await asyncio.sleep(0)
            spans.works[2](LONG)

    async def main(goal: Goal) -> None:
        factory: Any = vars(asyncio)["eager_task_factory"]
        asyncio.get_running_loop().set_task_factory(factory)
        while not goal.is_reached():
            with spans.current(1):
                task = asyncio.create_task(child())
                spans.works[1](LONG)
            await task

    labels_of(spans, lambda goal: asyncio.run(main(goal))).assert_seen(1, 2)


def test_t2_a_generator_that_holds_a_span_open_labels_its_caller(spans: Spans) -> None:
    def generator() -> Iterator[None]:
        while True:
            with spans.current(1):
                spans.works[1](LONG)
                yield
            yield

    def workload(goal: Goal) -> None:
        held = generator()
        while not goal.is_reached():
            next(held)
            spans.works[1](LONG)
            next(held)
            spans.works[0](LONG)

    labels_of(spans, workload).assert_seen(0, 1)


def test_t2_a_span_ended_on_another_thread_stays_where_it_was_attached(spans: Spans) -> None:
    def workload(goal: Goal) -> None:
        asked: queue.SimpleQueue[contextvars.Context | None] = queue.SimpleQueue()
        answers: queue.SimpleQueue[bool] = queue.SimpleQueue()

        def other() -> None:
            while (context := asked.get()) is not None:
                # As a copied context that is left on another thread: there the span ends, here it does not.
                context.run(spans.runtime.attach, spans.contexts[0])
                context.run(spans.works[0], LONG)
                answers.put(True)

        thread = threading.Thread(target=other)
        thread.start()
        with spans.current(1):
            while not goal.is_reached():
                asked.put(contextvars.copy_context())
                spans.works[1](LONG)
                answers.get()
        asked.put(None)
        thread.join()

    labels_of(spans, workload).assert_seen(0, 1)


def test_t2_code_without_a_span_is_never_labelled_beside_one_that_changes_fast(
    spans: Spans,
) -> None:
    def workload(goal: Goal) -> None:
        def flutter() -> None:
            with spans.current(1):
                spans.works[1](1)

        other = threading.Thread(target=until, args=(goal, flutter))
        other.start()
        until(goal, lambda: spans.works[0](LONG))
        other.join()

    labels_of(spans, workload, unknown_most=1.0).assert_seen(0)


def switch(module: Any, spans: Spans) -> Workload:
    """Two greenlets, each with its span, that hand over to each other after every bit of work."""

    def workload(goal: Goal) -> None:
        def body(index: int) -> None:
            with spans.current(index):
                while not goal.is_reached():
                    spans.works[index](LONG)
                    others[index].switch()

        first, second = (module.greenlet(lambda index=i: body(index)) for i in (1, 2))
        others = {1: second, 2: first}
        first.switch()
        while not (first.dead and second.dead):
            for each in (first, second):
                if not each.dead:
                    each.switch()

    return workload


def test_t2_greenlets_have_their_own_spans(spans: Spans) -> None:
    greenlet = pytest.importorskip("greenlet")
    labels_of(spans, switch(greenlet, spans)).assert_seen(1, 2)


@pytest.mark.skipif(find_spec("gevent") is None, reason="no gevent")
def test_t2_greenlets_of_gevent_have_their_own_spans() -> None:
    run_alone(sample_greenlets_of_gevent)  # where gevent is imported, other samplers see no spans


def sample_greenlets_of_gevent() -> None:
    gevent: Any = import_module("gevent")

    core.set_labels(enabled=True, span_key=_SPAN_KEY)
    spans = Spans(3)

    def workload(goal: Goal) -> None:
        def body(index: int) -> None:
            with spans.current(index):
                while not goal.is_reached():
                    spans.works[index](LONG)
                    gevent.sleep(0)

        gevent.joinall([gevent.spawn(body, index) for index in (1, 2, 3)], raise_error=True)

    labels_of(spans, workload).assert_seen(1, 2, 3)


def unknown_of(recording: Recording, index: int) -> tuple[int, int]:
    """Samples of a span's code without a label that is known, and with its own."""
    rows = [row for row in recording.rows if span_of(row.names) == index]
    assert all(row.span_id in (None, index) for row in rows), rows
    unknown = sum(row.samples for row in rows if row.span_id is None)
    return unknown, sum(row.samples for row in rows) - unknown


def test_t2_what_was_attached_before_the_core_is_unknown_until_it_is_attached_again(
    spans: Spans,
) -> None:
    stock = ContextVarsRuntimeContext()
    stock._current_context = spans.var

    def workload(goal: Goal) -> None:
        token = stock.attach(spans.contexts[1])
        while not goal.is_reached():
            spans.works[1](LONG)
            with spans.current(2):
                spans.works[2](LONG)
            spans.works[1](LONG)
        stock.detach(token)

    recording = record(workload, passes=PASSES, settings={"var": spans.var})
    tally(recording.rows).assert_right(unknown_most=1.0)
    before, after = unknown_of(recording, 1), unknown_of(recording, 2)
    assert before[0] > 20
    assert before[1] == 0
    assert after[1] > 20
    assert after[0] <= UNKNOWN_MOST * sum(after)


def test_labels_are_learned_wherever_variables_lie_in_memory() -> None:
    """Their hashes are made of addresses: here those of all new ones lie in a quarter of the branches of a trie."""
    held = [contextvars.ContextVar[int]("held") for _ in range(20_000)]
    held = [var for var in held if id(var) >> 4 & 31 >= 8]
    assert (
        core.Sampler(period_ns=1_000_000, var=contextvars.ContextVar("spans")).health()["passes"]
        == 0
    )
    del held
