"""The span reader comes, goes, gives up and forgets."""

import logging
import sys
import threading

import pytest
from opentelemetry import context as otel_context

from otelprof.context import UNKNOWN, SpanReader
from tests.context.stopped import TRACER, Stop, stopped


def test_a_runtime_context_without_a_context_var_switches_labels_off_with_one_warning(
    reader: SpanReader,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Foreign:
        def attach(self, _: object) -> object:
            return object()

    monkeypatch.setattr(otel_context, "_RUNTIME_CONTEXT", Foreign())
    other = SpanReader(lambda _: 0)
    with caplog.at_level(logging.WARNING, "otelprof"):
        other.install()
    assert [record.message for record in caplog.records] == [
        f"spans are not seen: {Foreign.__qualname__} keeps no ContextVar",
    ]
    assert isinstance(otel_context._RUNTIME_CONTEXT, Foreign)
    assert other.span_ids(threading.get_ident(), sys._getframe(), "thread") is UNKNOWN


def test_an_attach_that_cannot_be_noted_is_said_once_and_ends_all_labels(
    reader: SpanReader, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise ValueError("not noted")

    monkeypatch.setattr(reader, "note_attach", broken)
    for _ in range(3):
        with TRACER.start_as_current_span("s"):
            assert reader.span_ids(threading.get_ident(), sys._getframe(), "thread") is UNKNOWN
    assert [record.message for record in caplog.records] == ["spans are not seen any more"]


def test_uninstall_gives_the_runtime_context_back() -> None:
    before = otel_context._RUNTIME_CONTEXT
    reader = SpanReader(lambda _: 0)
    reader.install()
    assert otel_context._RUNTIME_CONTEXT is not before
    reader.uninstall()
    assert otel_context._RUNTIME_CONTEXT is before


def test_tokens_work_across_install_and_uninstall(reader: SpanReader) -> None:
    reader.uninstall()
    early = otel_context.attach(otel_context.set_value("n", 1))
    reader.install()
    late = otel_context.attach(otel_context.set_value("n", 2))
    reader.uninstall()
    otel_context.detach(late)
    assert otel_context.get_value("n") == 1
    reader.install()
    otel_context.detach(early)
    assert otel_context.get_value("n") is None


def test_a_thread_that_ended_is_forgotten(reader: SpanReader) -> None:
    def body(stop: Stop) -> None:
        with TRACER.start_as_current_span("s"):
            stop()

    with stopped(body) as thread:
        assert thread.ident in reader._threads
    reader.keep_only({threading.get_ident()})
    assert thread.ident not in reader._threads
