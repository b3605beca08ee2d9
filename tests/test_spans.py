"""The record of ended spans, the local root of each, and the mark on the span itself."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from otelprof import spans as spans_module
from otelprof.config import SpanId
from otelprof.model import SpanRecord
from otelprof.spans import (
    PROFILE_ID_ATTRIBUTE,
    SpanLog,
    SpanRecorder,
    current_resource,
    record_spans_of_provider,
)

RECORD = SpanRecord(b"t" * 16, b"s" * 8, b"", b"s" * 8, "checkout", 1, "", 0, 1, 2, "MainThread")
REMOTE = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


class RecordOnly(Sampler):
    """Spans that are recorded and not sampled."""

    def should_sample(self, *_: object, **__: object) -> SamplingResult:
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self) -> str:
        return "RecordOnly"


class SmallIds(IdGenerator):
    """Ids that begin with zeros."""

    def generate_span_id(self) -> int:
        return 0xF

    def generate_trace_id(self) -> int:
        return 0xE


class Traced:
    """A provider of its own with a recorder of ours, and the spans that left it by OpenTelemetry's way."""

    def __init__(
        self,
        *,
        span_id: SpanId = "own",
        sampler: Sampler | None = None,
        id_generator: IdGenerator | None = None,
    ) -> None:
        self.log = SpanLog()
        self.recorder = SpanRecorder(self.log, span_id=span_id)
        self.provider = TracerProvider(
            sampler=sampler, id_generator=id_generator, shutdown_on_exit=False
        )
        self.provider.add_span_processor(self.recorder)
        self._exported = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exported))
        self.tracer: Tracer = self.provider.get_tracer("tests")

    def exported(self) -> Mapping[str, ReadableSpan]:
        return {span.name: span for span in self._exported.get_finished_spans()}

    def marks(self) -> dict[str, object]:
        return {
            name: (span.attributes or {}).get(PROFILE_ID_ATTRIBUTE)
            for name, span in self.exported().items()
        }

    def records(self) -> dict[str, SpanRecord]:
        return {record.name: record for record in self.log.take()}


@pytest.fixture
def traced() -> Iterator[Traced]:
    traced = Traced()
    yield traced
    traced.provider.shutdown()


def id_of(span: Span) -> bytes:
    return span.get_span_context().span_id.to_bytes(8, "big")


class TestLog:
    def test_hands_over_once_in_order(self) -> None:
        log = SpanLog()
        records = [RECORD._replace(name=str(n)) for n in range(3)]
        for record in records:
            log.add(record)
        assert log.take() == tuple(records)
        assert log.take() == ()
        assert log.dropped() == 0

    def test_drops_the_oldest_and_counts_them(self) -> None:
        log = SpanLog(max_records=10)
        for n in range(25):
            log.add(RECORD._replace(name=str(n)))
        assert log.dropped() == 15
        assert [record.name for record in log.take()] == [str(n) for n in range(15, 25)]
        assert log.dropped() == 15
        log.add(RECORD)
        assert len(log.take()) == 1
        assert log.dropped() == 15

    def test_counts_right_from_many_threads(self) -> None:
        log, threads, each = SpanLog(max_records=100), 8, 5_000

        def add() -> None:
            for _ in range(each):
                log.add(RECORD)

        with ThreadPoolExecutor(threads) as pool:
            for _ in range(threads):
                pool.submit(add)
            taken = 0
            for _ in range(50):
                taken += len(log.take())
        taken += len(log.take())
        assert taken + log.dropped() == threads * each

    def test_forgets_the_parents_records_in_a_child_and_keeps_live_roots(
        self, traced: Traced
    ) -> None:
        with traced.tracer.start_as_current_span("request") as request:
            with traced.tracer.start_as_current_span("before"):
                pass
            traced.log.after_fork()
            assert traced.log.take() == ()
            assert traced.log.dropped() == 0
            with traced.tracer.start_as_current_span("after") as after:
                assert traced.log.local_root_of(after).to_bytes(8, "big") == id_of(request)
        assert set(traced.records()) == {"after", "request"}


class TestRecords:
    def test_say_what_happened(self, traced: Traced) -> None:
        with traced.tracer.start_as_current_span("GET /cart", kind=SpanKind.SERVER) as request:
            request.set_attribute("http.route", "/cart/{id}")
            with traced.tracer.start_as_current_span("query", kind=SpanKind.CLIENT) as query:
                query.set_status(StatusCode.ERROR, "gone")
        trace_id = request.get_span_context().trace_id.to_bytes(16, "big")
        root = id_of(request)
        times = {
            name: (span.start_time or 0, span.end_time or 0)
            for name, span in traced.exported().items()
        }
        # trace and span id, parent, local root, name, kind, route, status, begin and end, thread
        assert traced.records() == {
            "query": SpanRecord(
                trace_id, id_of(query), root, root, "query", 3, "", 2, *times["query"], "MainThread"
            ),
            "GET /cart": SpanRecord(
                *(trace_id, root, b"", root, "GET /cart", 2, "/cart/{id}", 0),
                *times["GET /cart"],
                thread="MainThread",
            ),
        }

    def test_kinds_have_the_numbers_of_otlp(self, traced: Traced) -> None:
        for name in ("INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"):
            traced.tracer.start_span(name, kind=SpanKind[name]).end()
        assert {record.name: record.kind for record in traced.log.take()} == {
            "INTERNAL": 1,
            "SERVER": 2,
            "CLIENT": 3,
            "PRODUCER": 4,
            "CONSUMER": 5,
        }

    def test_a_span_has_its_name_of_the_end_and_the_thread_that_ended_it(
        self, traced: Traced
    ) -> None:
        span = traced.tracer.start_span("GET")
        span.update_name("GET /cart")
        thread = threading.Thread(target=span.end, name="finisher")
        thread.start()
        thread.join()
        assert traced.records()["GET /cart"].thread == "finisher"

    def test_unsampled_spans_are_not_recorded(self) -> None:
        for sampler in (RecordOnly(), ALWAYS_OFF):
            traced = Traced(sampler=sampler)
            with traced.tracer.start_as_current_span("one"):
                pass
            assert traced.log.take() == ()
            assert traced.log.dropped() == 0
            traced.provider.shutdown()

    def test_nothing_is_kept_of_unsampled_spans_that_ended(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else those would use up the room in which sampled ones find their local roots."""
        monkeypatch.setattr(spans_module, "MAX_RECORDS", 10)
        log = SpanLog()
        unsampled, sampled = TracerProvider(RecordOnly()), TracerProvider()
        for provider in (unsampled, sampled):
            provider.add_span_processor(SpanRecorder(log))
        for _ in range(20):
            unsampled.get_tracer("tests").start_span("unsampled").end()
        tracer = sampled.get_tracer("tests")
        with (
            tracer.start_as_current_span("request") as request,
            tracer.start_as_current_span("query"),
        ):
            pass
        assert {record.local_root_span_id for record in log.take()} == {id_of(request)}
        for provider in (unsampled, sampled):
            provider.shutdown()


class TestLocalRoots:
    def test_of_nested_spans_is_the_outermost(self, traced: Traced) -> None:
        with traced.tracer.start_as_current_span("a") as a:
            with (
                traced.tracer.start_as_current_span("b") as b,
                traced.tracer.start_as_current_span("c") as c,
            ):
                roots = {traced.log.local_root_of(span) for span in (a, b, c)}
            with traced.tracer.start_as_current_span("d"):
                pass
        assert roots == {a.get_span_context().span_id}
        assert {r.local_root_span_id for r in traced.records().values()} == {id_of(a)}

    def test_of_two_traces_are_their_own(self, traced: Traced) -> None:
        with traced.tracer.start_as_current_span("a") as a:
            pass
        with traced.tracer.start_as_current_span("b") as b:
            pass
        records = traced.records()
        assert records["a"].local_root_span_id == id_of(a)
        assert records["b"].local_root_span_id == id_of(b)

    def test_below_a_remote_parent_is_the_first_span_here(self, traced: Traced) -> None:
        above = set_span_in_context(NonRecordingSpan(REMOTE))
        with (
            traced.tracer.start_as_current_span("request", context=above) as request,
            traced.tracer.start_as_current_span("query"),
        ):
            pass
        records = traced.records()
        assert {record.local_root_span_id for record in records.values()} == {id_of(request)}
        assert records["request"].parent_span_id == REMOTE.span_id.to_bytes(8, "big")
        assert records["query"].parent_span_id == id_of(request)
        assert records["query"].trace_id == REMOTE.trace_id.to_bytes(16, "big")

    def test_is_the_same_after_the_parent_has_ended(self, traced: Traced) -> None:
        request = traced.tracer.start_span("request")
        middle = traced.tracer.start_span("middle", context=set_span_in_context(request))
        middle.end()
        request.end()
        late = traced.tracer.start_span("late", context=set_span_in_context(middle))
        assert traced.log.local_root_of(late).to_bytes(8, "big") == id_of(request)
        late.end()
        assert traced.records()["late"].local_root_span_id == id_of(request)

    def test_in_another_thread_is_that_of_the_parent(self, traced: Traced) -> None:
        with (
            traced.tracer.start_as_current_span("request") as request,
            ThreadPoolExecutor(1) as pool,
        ):
            above = set_span_in_context(request)
            pool.submit(lambda: traced.tracer.start_span("job", context=above).end()).result()
        assert traced.records()["job"].local_root_span_id == id_of(request)

    def test_of_a_span_that_was_never_seen_is_unknown(self, traced: Traced) -> None:
        assert traced.log.local_root_of(NonRecordingSpan(REMOTE)) == 0
        assert SpanLog().local_root_of(traced.tracer.start_span("one")) == 0

    def test_of_a_span_that_began_before_us_is_itself_in_the_record(self, traced: Traced) -> None:
        late = SpanLog()
        span = traced.tracer.start_span("early")
        traced.provider.add_span_processor(SpanRecorder(late))
        child = traced.tracer.start_span("child", context=set_span_in_context(span))
        child.end()
        span.end()
        assert [record.local_root_span_id for record in late.take()] == [id_of(span), id_of(span)]


class TestMarks:
    def test_a_span_carries_its_own_id(self, traced: Traced) -> None:
        with (
            traced.tracer.start_as_current_span("request") as request,
            traced.tracer.start_as_current_span("query") as query,
        ):
            pass
        assert traced.marks() == {"request": id_of(request).hex(), "query": id_of(query).hex()}

    def test_or_that_of_its_local_root(self) -> None:
        traced = Traced(span_id="root")
        above = set_span_in_context(NonRecordingSpan(REMOTE))
        with (
            traced.tracer.start_as_current_span("request", context=above) as request,
            traced.tracer.start_as_current_span("query"),
        ):
            pass
        assert traced.marks() == {"request": id_of(request).hex(), "query": id_of(request).hex()}
        traced.provider.shutdown()

    def test_an_id_keeps_its_leading_zeros(self) -> None:
        traced = Traced(id_generator=SmallIds())
        traced.tracer.start_span("one").end()
        assert traced.marks() == {"one": "000000000000000f"}
        assert traced.records()["one"].span_id == b"\x00" * 7 + b"\x0f"
        traced.provider.shutdown()

    def test_unsampled_spans_carry_none(self) -> None:
        traced = Traced(sampler=RecordOnly())
        span = traced.tracer.start_span("one")
        assert isinstance(span, ReadableSpan)
        assert PROFILE_ID_ATTRIBUTE not in (span.attributes or {})
        span.end()
        traced.provider.shutdown()


class TestClosed:
    def test_a_recorder_does_nothing_more(self, traced: Traced) -> None:
        before = traced.tracer.start_span("before")
        traced.recorder.close()
        before.end()
        traced.tracer.start_span("after").end()
        assert traced.log.take() == ()
        assert traced.marks()["after"] is None


class TestProvider:
    def test_without_the_sdks_there_is_nothing_to_record(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
        assert not record_spans_of_provider(SpanRecorder(SpanLog()))

    def test_that_comes_later_is_recorded_from_then_on(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = SpanLog()
        recorder = SpanRecorder(log)
        provider = TracerProvider(shutdown_on_exit=False)
        monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
        assert not record_spans_of_provider(recorder)
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
        assert record_spans_of_provider(recorder)
        provider.get_tracer("tests").start_span("one").end()
        assert [record.name for record in log.take()] == ["one"]
        provider.shutdown()

    def test_its_resource_is_ours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        resource = Resource(
            {
                "service.name": "shop",
                "n": 1,
                "f": 0.5,
                "b": True,
                "args": ["a", "b"],
                "ints": [1, 2],
            }
        )
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
        assert dict(current_resource()) == {
            "service.name": "shop",
            "n": 1,
            "f": 0.5,
            "b": True,
            "args": ("a", "b"),
            "ints": ("1", "2"),
        }
        provider.shutdown()

    def test_without_one_the_resource_is_the_environments(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        resource = dict(current_resource())
        assert resource["service.name"] == "shop"
        assert resource["deployment.environment"] == "test"
