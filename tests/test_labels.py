"""Labels: how the core's runtime context gets into the place of the one that is there, and what it leaves whole.

All of it runs with a stand-in in plain Python and with the core itself.
"""

import contextvars
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextvars import Token
from typing import Any, NamedTuple

import opentelemetry.context as otel_context
import pytest
from opentelemetry import trace
from opentelemetry.context.context import Context, _RuntimeContext
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.sdk.trace import TracerProvider

from otelprof import labels as labels_module
from otelprof.context import SpanReader
from otelprof.labels import Labels
from otelprof.runtime_context import RecordingContext, Var, runtime_context
from tests.support import core

TRACER = TracerProvider(shutdown_on_exit=False).get_tracer("tests")


@pytest.fixture(params=["stand-in", "core"], autouse=True)
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The core's module."""
    if request.param == "stand-in":
        return request.getfixturevalue("fake_core")
    module = core.required()
    monkeypatch.setattr(otel_context, "_RUNTIME_CONTEXT", ContextVarsRuntimeContext())
    monkeypatch.setattr(labels_module, "_users", [])
    return module


@pytest.fixture
def labels() -> Iterator[Labels]:
    """A user of labels, not installed."""
    user = Labels(lambda _: 0)
    yield user
    user.uninstall()


class Ids(NamedTuple):
    """What a label says."""

    trace_id: int
    span_id: int
    root_id: int


def label_in(var: Var | None) -> Ids | None:
    """The label that the core would find in this thread now."""
    assert var is not None
    value = var.get(None)
    if value is None or isinstance(value, Context) or not value.has_span:
        return None
    ids = (value.trace_id, value.span_id, value.local_root_span_id)
    return Ids(*(int.from_bytes(each, "big") for each in ids))


def span_id_in(var: Var | None) -> int | None:
    label = label_in(var)
    return None if label is None else label.span_id


def root_id_in(var: Var | None) -> int | None:
    label = label_in(var)
    return None if label is None else label.root_id


def ids_of(span: trace.Span) -> int:
    return span.get_span_context().span_id


class TestStock:
    def test_takes_its_place_over_the_same_variable(self, labels: Labels) -> None:
        before = otel_context._RUNTIME_CONTEXT
        assert labels.variable() is before._current_context  # type: ignore[attr-defined]
        var = labels.install()
        assert var is labels.variable() is before._current_context  # type: ignore[attr-defined]
        assert isinstance(otel_context._RUNTIME_CONTEXT, _RuntimeContext)

    def test_a_span_is_labelled_while_it_is_current(self, labels: Labels) -> None:
        var = labels.install()
        with TRACER.start_as_current_span("outer") as outer:
            assert span_id_in(var) == ids_of(outer)
            with TRACER.start_as_current_span("inner") as inner:
                assert span_id_in(var) == ids_of(inner)
                assert trace.get_current_span() is inner
            assert span_id_in(var) == ids_of(outer)
        assert label_in(var) is None

    def test_tokens_from_before_work_after_and_the_reverse(self, labels: Labels) -> None:
        early = otel_context.attach(otel_context.set_value("n", 1))
        labels.install()
        late = otel_context.attach(otel_context.set_value("n", 2))
        assert otel_context.get_value("n") == 2
        otel_context.detach(late)
        assert otel_context.get_value("n") == 1
        otel_context.detach(early)
        assert otel_context.get_value("n") is None

    def test_a_token_of_another_context_is_no_error_of_the_applications(
        self, labels: Labels, caplog: pytest.LogCaptureFixture
    ) -> None:
        labels.install()
        token = contextvars.copy_context().run(otel_context.attach, Context({"n": 1}))
        otel_context.detach(token)
        assert [r.getMessage() for r in caplog.records] == ["Failed to detach context"]

    def test_is_there_for_ever_but_labels_only_while_somebody_wants_them(
        self, labels: Labels
    ) -> None:
        other = Labels(lambda _: 0)
        var = labels.install()
        ours = otel_context._RUNTIME_CONTEXT
        assert other.install() is var
        labels.uninstall()
        labels.uninstall()
        with TRACER.start_as_current_span("wanted by the other") as span:
            assert span_id_in(var) == ids_of(span)
        other.uninstall()
        with TRACER.start_as_current_span("wanted by nobody"):
            assert label_in(var) is None
        assert otel_context._RUNTIME_CONTEXT is ours
        assert labels.install() is var
        assert otel_context._RUNTIME_CONTEXT is ours

    def test_a_label_that_outlives_its_user_is_still_a_context(self, labels: Labels) -> None:
        labels.install()
        with TRACER.start_as_current_span("kept") as span:
            kept = contextvars.copy_context()
        labels.uninstall()
        assert kept.run(trace.get_current_span) is span

    def test_the_local_root_is_the_outermost_span(self, labels: Labels) -> None:
        var = labels.install()
        with TRACER.start_as_current_span("outer") as outer:
            assert root_id_in(var) == ids_of(outer)
            with TRACER.start_as_current_span("middle"), TRACER.start_as_current_span("inner"):
                assert root_id_in(var) == ids_of(outer)

    def test_every_user_is_asked_for_a_local_root_that_is_not_current(self, labels: Labels) -> None:
        def raises(span: trace.Span) -> int:
            raise ValueError("a span of the application's")

        above = trace.set_span_in_context(TRACER.start_span("above"))
        var = labels.install()
        other = Labels(lambda span: 0xAB)
        other.install()
        with TRACER.start_as_current_span("s", context=above):
            assert root_id_in(var) == 0xAB
        other.uninstall()
        labels.local_root_of = raises
        with TRACER.start_as_current_span("s", context=above):
            assert root_id_in(var) == 0


class Counting(ContextVarsRuntimeContext):
    """Another tool's: counts what is attached, and looks into the variable while it does."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[object] = []

    def attach(self, context: Context) -> Token[Context]:
        self.seen.append(self._current_context.get())
        token = super().attach(Context({**self.get_current(), **context}))
        self.seen.append(self._current_context.get())
        return token

    def detach(self, token: Token[Context]) -> None:
        self.seen.append(self._current_context.get())
        super().detach(token)
        self.seen.append(self._current_context.get())


class SaysWhatIsCurrent(ContextVarsRuntimeContext):
    def get_current(self) -> Context:
        return super().get_current()


class HasMore(ContextVarsRuntimeContext):
    @property
    def depth(self) -> int:
        return len(self._current_context.get())


class OfItsOwn(_RuntimeContext):
    """Keeps a ContextVar under OpenTelemetry's name, and something else in it."""

    def __init__(self) -> None:
        self._current_context: Var = contextvars.ContextVar("its own", default=())

    def attach(self, context: Context) -> Token[Any]:
        return self._current_context.set((context, *self._current_context.get()))

    def get_current(self) -> Context:
        return next(iter(self._current_context.get()), Context())

    def detach(self, token: Token[Any]) -> None:
        self._current_context.reset(token)


class TestForeign:
    def test_that_does_all_in_attach_and_detach_is_labelled_after_it(
        self, labels: Labels, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        theirs = Counting()
        monkeypatch.setattr(otel_context, "_RUNTIME_CONTEXT", theirs)
        early = otel_context.attach(Context({"n": 1}))
        var = labels.install()
        assert var is theirs._current_context is labels.variable()
        assert labels.install() is var
        with TRACER.start_as_current_span("outer") as outer:
            assert span_id_in(var) == ids_of(outer)
            with TRACER.start_as_current_span("inner") as inner:
                assert span_id_in(var) == ids_of(inner)
                assert trace.get_current_span() is inner
                assert otel_context.get_value("n") == 1
            assert span_id_in(var) == ids_of(outer)
        assert label_in(var) is None
        assert otel_context.get_value("n") == 1
        otel_context.detach(early)
        assert otel_context.get_value("n") is None
        assert len(theirs.seen) == 2 * 3 + 2 * 3
        assert all(isinstance(value, Context) for value in theirs.seen)

    def test_that_raises_is_heard_and_the_label_stays_right(
        self, labels: Labels, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(otel_context, "_RUNTIME_CONTEXT", Counting())
        var = labels.install()
        token = contextvars.copy_context().run(otel_context.attach, Context({"n": 1}))
        with TRACER.start_as_current_span("s") as span:
            otel_context.detach(token)
            assert span_id_in(var) == ids_of(span)
        assert [r.getMessage() for r in caplog.records] == ["Failed to detach context"]

    @pytest.mark.parametrize("kind", [SaysWhatIsCurrent, HasMore, OfItsOwn])
    def test_that_may_do_more_switches_labels_off_with_one_warning(
        self,
        kind: type[_RuntimeContext],
        labels: Labels,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        theirs = kind()
        monkeypatch.setattr(otel_context, "_RUNTIME_CONTEXT", theirs)
        assert labels.variable() is None
        assert labels.install() is None
        assert otel_context._RUNTIME_CONTEXT is theirs
        (record,) = caplog.records
        assert record.getMessage() == (
            f"spans are not seen: {__name__}.{kind.__qualname__}, the runtime context in place, "
            "cannot be labelled"
        )

    def test_a_stock_one_with_other_methods_is_left_alone(
        self, labels: Labels, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        theirs = ContextVarsRuntimeContext()
        monkeypatch.setattr(theirs, "attach", Counting().attach)
        monkeypatch.setattr(otel_context, "_RUNTIME_CONTEXT", theirs)
        assert labels.install() is None

    def test_a_patched_class_is_left_alone(
        self, labels: Labels, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ContextVarsRuntimeContext, "attach", Counting.attach)
        assert labels.install() is None

    def test_a_context_over_ours_switches_labels_off(
        self, labels: Labels, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(otel_context, "_RUNTIME_CONTEXT", OfItsOwn())
        assert labels.install() is None


class TestBothSamplers:
    """In one process, one after the other or at once."""

    def test_the_reader_reads_through_labels(self, labels: Labels) -> None:
        labels.install()
        reader = SpanReader(lambda _: 0)
        reader.install()
        assert isinstance(otel_context._RUNTIME_CONTEXT, RecordingContext)
        with TRACER.start_as_current_span("s") as span:
            assert read(reader) == ids_of(span)
        reader.uninstall()
        assert not isinstance(otel_context._RUNTIME_CONTEXT, RecordingContext)

    def test_labels_come_in_below_the_reader(self, labels: Labels) -> None:
        reader = SpanReader(lambda _: 0)
        reader.install()
        var = labels.install()
        assert isinstance(otel_context._RUNTIME_CONTEXT, RecordingContext)
        with TRACER.start_as_current_span("s") as span:
            assert span_id_in(var) == ids_of(span) == read(reader)
            reader.uninstall()
            assert span_id_in(var) == ids_of(span)
        assert label_in(var) is None
        assert labels.install() is var

    def test_no_layer_is_added_by_starting_again(self, labels: Labels) -> None:
        reader = SpanReader(lambda _: 0)
        labels.install()
        ours = otel_context._RUNTIME_CONTEXT
        for _ in range(3):
            reader.install()
            labels.install()
            labels.uninstall()
            reader.uninstall()
        assert otel_context._RUNTIME_CONTEXT is ours


def read(reader: SpanReader) -> int | None:
    """The span that the reader sees in this thread."""
    ids = reader.span_ids(threading.get_ident(), sys._getframe(), "thread")
    return ids[1] if isinstance(ids, tuple) else None


class TestEntryPoint:
    def test_is_a_runtime_context_that_makes_labels_when_asked(
        self, labels: Labels, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        early = runtime_context()
        assert isinstance(early, _RuntimeContext)
        monkeypatch.setattr(otel_context, "_RUNTIME_CONTEXT", early)
        assert otel_context.get_current() == Context()
        var = labels.install()
        assert otel_context._RUNTIME_CONTEXT is early
        with TRACER.start_as_current_span("s") as span:
            assert span_id_in(var) == ids_of(span)

    def test_is_opentelemetrys_own_where_there_is_no_core(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "otelprof._core", None)
        assert type(runtime_context()) is ContextVarsRuntimeContext


PROGRAM = """
import sys
import opentelemetry.context as c
print(type(c._RUNTIME_CONTEXT).__module__, "opentelemetry.trace" in sys.modules)
"""


def test_the_entry_point_loads_at_once_while_opentelemetry_is_imported() -> None:
    variables = {**os.environ, "OTEL_PYTHON_CONTEXT": "otelprof"}
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert finished.stderr == ""
    module, has_trace = finished.stdout.split()
    expected = "opentelemetry.context.contextvars_context" if core.WHY_NOT else "otelprof._core"
    assert module == expected
    assert has_trace == "False"
