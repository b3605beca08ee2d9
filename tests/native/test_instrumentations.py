"""T20: OpenTelemetry's own instrumentations work with the core's runtime context in the place of the stock one."""

import asyncio
import importlib
import sqlite3
from collections.abc import Callable, Iterator
from contextvars import Token
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace.propagation import _SPAN_KEY

from tests.native.installed import core
from tests.native.spans import Work, tally, worker
from tests.native.windows import Goal, Recording, record

PASSES = 400
LONG = 20_000
UNKNOWN_MOST = 0.05


class Ended(SpanProcessor):
    """Remembers every span that has ended."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


@dataclass(slots=True)
class Traced:
    """A provider, and code that runs in one span each: `work_7` in the 7th that it was run in."""

    ended: Ended = field(default_factory=Ended)
    provider: TracerProvider = field(init=False)
    seen: dict[int, int] = field(default_factory=dict[int, int])

    def __post_init__(self) -> None:
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.ended)

    def work(self) -> None:
        """Some work of the current span's own."""
        span_id = trace.get_current_span().get_span_context().span_id
        work: Work = worker(span_id)
        self.seen[span_id] = self.seen.get(span_id, 0) + 1
        work(LONG)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[Traced]:
    stock = ContextVarsRuntimeContext()
    runtime = core.RuntimeContext(stock._current_context)
    monkeypatch.setattr(otel_context, "_RUNTIME_CONTEXT", runtime)
    core.set_labels(enabled=True, span_key=_SPAN_KEY)
    yield Traced()
    core.set_labels(enabled=False)


def sampled(workload: Callable[[Goal], object]) -> Recording:
    var = vars(otel_context)["_RUNTIME_CONTEXT"]._current_context
    return record(workload, passes=PASSES, settings={"var": var})


def assert_every_span_is_labelled(traced: Traced, recording: Recording, name: str) -> None:
    found = tally(recording.of_thread())
    found.assert_right(unknown_most=UNKNOWN_MOST)
    ended = {span.context.span_id: span for span in traced.ended.spans if span.context}
    assert {ended[span_id].name for span_id in traced.seen} == {name}
    assert sum(found.right[span_id] for span_id in traced.seen) > PASSES / 10
    trace_ids = {row.span_id: row.trace_id for row in recording.of_thread() if row.span_id}
    for span_id, trace_id in trace_ids.items():
        context = ended[span_id].context
        assert context is not None
        assert trace_id == context.trace_id


@pytest.mark.filterwarnings(
    "ignore:Inheritance class:DeprecationWarning"
)  # the instrumentation's own
def test_t20_requests_to_aiohttp_have_their_spans(traced: Traced) -> None:
    instrumentation: Any = pytest.importorskip("opentelemetry.instrumentation.aiohttp_server")
    instrumentor = instrumentation.AioHttpServerInstrumentor()
    instrumentor.instrument(tracer_provider=traced.provider)
    try:
        recording = sampled(lambda goal: asyncio.run(serve(traced, goal)))
    finally:
        instrumentor.uninstrument()
    assert_every_span_is_labelled(traced, recording, "GET /work")
    assert len(traced.seen) > 10


async def serve(traced: Traced, goal: Goal) -> None:
    """A server, and four clients that ask it all the time."""
    client: Any = importlib.import_module("aiohttp")
    web: Any = importlib.import_module("aiohttp.web")

    async def handle(_request: object) -> Any:
        traced.work()
        await asyncio.sleep(0)
        traced.work()
        return web.Response(text="done")

    app = web.Application()
    app.router.add_get("/work", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/work"

    async def ask() -> None:
        async with client.ClientSession() as session:
            while not goal.is_reached():
                async with session.get(url) as response:
                    assert await response.text() == "done"

    try:
        await asyncio.gather(*(ask() for _ in range(4)))
    finally:
        await runner.cleanup()


def test_t20_queries_of_sqlite_have_their_spans(traced: Traced) -> None:
    instrumentation: Any = pytest.importorskip("opentelemetry.instrumentation.sqlite3")
    instrumentor = instrumentation.SQLite3Instrumentor()
    instrumentor.instrument(tracer_provider=traced.provider)

    def workload(goal: Goal) -> None:
        connection: Any = sqlite3.connect(":memory:")
        connection.create_function("work", 0, traced.work)
        while not goal.is_reached():
            cursor = connection.cursor()
            cursor.execute("SELECT work()")
            cursor.fetchall()
        connection.close()

    try:
        recording = sampled(workload)
    finally:
        instrumentor.uninstrument()
    assert_every_span_is_labelled(traced, recording, "SELECT")


def test_t20_spans_of_the_sdk_are_labels_and_come_off_in_any_order(traced: Traced) -> None:
    tracer = traced.provider.get_tracer("tests")

    def workload(goal: Goal) -> None:
        while not goal.is_reached():
            with tracer.start_as_current_span("step"):
                traced.work()
                token: Token[Any] = otel_context.attach(
                    trace.set_span_in_context(trace.INVALID_SPAN)
                )
                otel_context.detach(token)
                traced.work()

    assert_every_span_is_labelled(traced, sampled(workload), "step")
