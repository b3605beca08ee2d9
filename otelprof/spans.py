"""The record of ended spans, and the local root of each live one.

A span processor of ours is told of every span's start and end. It marks sampled spans with
`pyroscope.profile.id`, so that Grafana and Jaeger find their profile, and keeps a bounded record of the
sampled ones that ended, so that profiles can be rolled up by name and endpoint. It stands here and not
in `instrumentation/` because `Profiler` needs it too (docs/decisions/0003).
"""

import threading
import weakref
from collections import deque
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from otelprof.config import SpanId
from otelprof.model import SPAN_ID_BYTES, TRACE_ID_BYTES, Attributes, SpanRecord

MAX_RECORDS = 65_536  # about 20 MB; at 1,000 spans a second a minute's worth
PROFILE_ID_ATTRIBUTE = "pyroscope.profile.id"

# OTLP numbers the kinds from 1 (trace.proto, `SpanKind`), opentelemetry-python from 0.
_OTLP_KIND_OFFSET = 1


class SpanLog:
    """Spans that ended since the last `take`, oldest dropped first when there are too many."""

    def __init__(self, *, max_records: int = MAX_RECORDS) -> None:
        self._records: deque[SpanRecord] = deque(maxlen=max_records)
        self._inherited = self._records  # in a forked child the parent's
        # Two maps: children are born of the span object, but a span ends as a copy of itself.
        self._roots: weakref.WeakKeyDictionary[trace.Span, int] = weakref.WeakKeyDictionary()
        self._open: dict[int, int] = {}
        self._added = 0
        self._taken = 0

    def add(self, record: SpanRecord) -> None:
        """Record an ended span. Thread-safe."""
        self._added += 1
        self._records.append(record)

    def take(self) -> tuple[SpanRecord, ...]:
        """Hand over all records. Called from one thread at a time."""
        taken: list[SpanRecord] = []
        while self._records:
            taken.append(self._records.popleft())
        self._inherited = self._records
        self._taken += len(taken)
        return tuple(taken)

    def dropped(self) -> int:
        """Spans that were dropped because nobody took them in time."""
        return max(0, self._added - self._taken - len(self._records))

    def note_root(self, span: trace.Span, parent: trace.Span | None) -> int:
        """Remember and return the local root's id of a span that starts under `parent`, if that is local."""
        span_id = span.get_span_context().span_id
        if parent is None:
            root = span_id
        else:
            root = self._roots.get(parent, 0) or parent.get_span_context().span_id
        self._roots[span] = root
        if len(self._open) < MAX_RECORDS:  # spans that never end stay in here
            self._open[span_id] = root
        return root

    def end_root(self, span_id: int) -> int:
        """The local root of the span that ends with this id; its own id if it is not known."""
        return self._open.pop(span_id, span_id)

    def local_root_of(self, span: trace.Span) -> int:
        """The span id of the outermost span of this process above `span`; 0 if it is not known."""
        return self._roots.get(span, 0)

    def after_fork(self) -> None:
        """Forget the parent's records in a forked child; live spans keep their roots.

        They are freed at the next `take`: a thousand would hold the child up for milliseconds.
        """
        if self._records:
            self._inherited, self._records = self._records, deque(maxlen=self._records.maxlen)
        self._added = self._taken = 0


class SpanRecorder(SpanProcessor):
    """Feeds a `SpanLog`. Nothing here may raise: it runs in the application's threads."""

    def __init__(self, log: SpanLog, *, span_id: SpanId = "own") -> None:
        self._log = log
        self._marks_root = span_id == "root"
        self._is_closed = False

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Note the local root and mark a sampled span with the id that its profile can be found by."""
        if self._is_closed:
            return
        parent = trace.get_current_span(parent_context)
        above = parent.get_span_context()
        root = self._log.note_root(span, parent if above.is_valid and not above.is_remote else None)
        context = span.get_span_context()
        if context.trace_flags.sampled:
            marked = root if self._marks_root else context.span_id
            span.set_attribute(PROFILE_ID_ATTRIBUTE, f"{marked:016x}")

    def on_end(self, span: ReadableSpan) -> None:
        """Record a sampled span."""
        context = span.get_span_context()
        if self._is_closed or context is None:
            return
        root = self._log.end_root(context.span_id)
        if not context.trace_flags.sampled:
            return
        parent = span.parent
        self._log.add(
            SpanRecord(
                trace_id=context.trace_id.to_bytes(TRACE_ID_BYTES, "big"),
                span_id=context.span_id.to_bytes(SPAN_ID_BYTES, "big"),
                parent_span_id=b""
                if parent is None
                else parent.span_id.to_bytes(SPAN_ID_BYTES, "big"),
                local_root_span_id=root.to_bytes(SPAN_ID_BYTES, "big"),
                name=span.name,
                kind=span.kind.value + _OTLP_KIND_OFFSET,
                route=str((span.attributes or {}).get("http.route", "")),
                status=span.status.status_code.value,
                start_unix_ns=span.start_time or 0,
                end_unix_ns=span.end_time or 0,
                thread=threading.current_thread().name,
            ),
        )

    def open(self) -> None:
        """Record again after `close`."""
        self._is_closed = False

    def close(self) -> None:
        """Do nothing from now on: a processor cannot be taken out of its provider again."""
        self._is_closed = True

    def shutdown(self) -> None:
        """Nothing to release: the log belongs to the profiler."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is buffered here."""
        del timeout_millis
        return True


def record_spans_of_provider(
    recorder: SpanRecorder, provider: trace.TracerProvider | None = None
) -> bool:
    """Add `recorder` to `provider`, else to the global one. False as long as that is none of the SDK's."""
    add = getattr(provider or trace.get_tracer_provider(), "add_span_processor", None)
    if add is None:
        return False
    add(recorder)
    return True


def current_resource(provider: trace.TracerProvider | None = None) -> Attributes:
    """The resource of `provider`, else of the global one, read anew since it changes on fork; else the environment's."""
    resource = getattr(provider or trace.get_tracer_provider(), "resource", None)
    if not isinstance(resource, Resource):
        # Not `Resource.create`: it starts threads, which Python refuses at exit.
        unnamed = Resource({"service.name": "unknown_service"})
        resource = unnamed.merge(OTELResourceDetector().detect())
    attributes: list[tuple[str, bool | int | float | str | tuple[str, ...]]] = []
    for key, value in resource.attributes.items():
        if isinstance(value, bool | int | float | str):
            attributes.append((key, value))
        elif isinstance(value, Sequence):
            attributes.append((key, tuple(str(item) for item in value)))
    return tuple(attributes)
