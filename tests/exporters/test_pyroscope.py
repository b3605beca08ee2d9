"""Pushes to Pyroscope: what it and Grafana find, and that its rules and limits are kept."""

import gzip
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from otelprof.config import Config, SpanId
from otelprof.exporter_settings import PyroscopeSettings
from otelprof.exporters.pyroscope import from_config
from otelprof.exporters.pyroscope_labels import MAX_SAMPLE_VALUES, OTHER_VALUE
from otelprof.formats import pprof
from otelprof.interfaces import DELIVERED, Exporter, Outcome
from otelprof.model import KINDS, Attributes, Batch, Profile
from tests.support.profiles import (
    LEAF,
    OTHER_SPAN,
    ROOT,
    ROOT_SPAN_ID,
    ROOTLESS_SPAN,
    SPAN,
    START_UNIX_NS,
    TRACE_ID,
    cpu_and_wall,
    profile_of,
    row,
)
from tests.support.pyroscope import BURST_BYTES, MAX_SAMPLES, PATH, Pyroscope
from tests.support.random_profiles import random_profile
from tests.support.servers import Reply, http_receiver
from tests.support.wire import Message

TIMEOUT_S = 60.0
CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
WALL = "wall:wall:nanoseconds:wall:nanoseconds"


@contextmanager
def pushing(server: Pyroscope, span_id: SpanId = "own", **settings: Any) -> Iterator[Exporter]:
    with http_receiver(then=server.answer) as receiver:
        changed = replace(PyroscopeSettings(receiver.url), **settings)
        exporter = from_config(Config(pyroscope=changed, span_id=span_id))
        try:
            yield exporter
        finally:
            exporter.close()


def push(*profiles: Profile, span_id: SpanId = "own", **settings: Any) -> Pyroscope:
    """What Pyroscope has after a push of these, which it takes."""
    server = Pyroscope(START_UNIX_NS)
    with pushing(server, span_id, **settings) as exporter:
        assert exporter.export(Batch(profiles), timeout_s=TIMEOUT_S) == DELIVERED
    return server


def labels_of(resource: Attributes, **settings: Any) -> dict[str, str]:
    """The labels of the series of a profile with this resource."""
    profile = replace(profile_of(row(LEAF, values=(1, 10))), resource=resource)
    (series,) = push(profile, **settings).series
    return dict(series)


class TestWhatGrafanaFinds:
    def test_names_units_and_values(self) -> None:
        assert push(*cpu_and_wall()).sums == {
            "process_cpu:samples:count:cpu:nanoseconds": 7,
            CPU: 70_000_000,
            "wall:samples:count:wall:nanoseconds": 13,
            WALL: 130_000_000,
        }

    def test_the_time_of_a_span(self) -> None:
        server = push(*cpu_and_wall())
        assert server.spans[CPU, SPAN.span_id.hex()] == 40_000_000
        assert server.spans[CPU, ROOTLESS_SPAN.span_id.hex()] == 20_000_000
        assert server.spans[WALL, SPAN.span_id.hex()] == 40_000_000
        assert server.spans[WALL, OTHER_SPAN.span_id.hex()] == 90_000_000
        assert server.traces[WALL, TRACE_ID.hex()] == 130_000_000

    def test_the_time_of_a_local_root_where_that_is_configured(self) -> None:
        server = push(*cpu_and_wall(), span_id="root")
        assert server.spans[CPU, ROOT_SPAN_ID.hex()] == 40_000_000
        assert server.spans[WALL, ROOT_SPAN_ID.hex()] == 130_000_000
        assert server.spans[CPU, ROOTLESS_SPAN.span_id.hex()] == 20_000_000  # its root is unknown
        assert (CPU, SPAN.span_id.hex()) not in server.spans

    @pytest.mark.parametrize(
        ("kind", "name"),
        [
            ("cpu", "process_cpu"),
            ("wall", "wall"),
            ("heap", "memory"),
            ("alloc", "memory"),
            ("lock", "mutex"),
            ("block", "block"),
            ("asyncio.tasks", "asyncio_tasks"),
            ("2nd", "_2nd"),
        ],
    )
    def test_the_name_of_each_kind(self, kind: str, name: str) -> None:
        profile = profile_of(row(LEAF, values=(1, 10)), kind=kind, value_types=KINDS["wall"])
        (series,) = push(profile).series
        assert dict(series)["__name__"] == name

    def test_pyroscope_is_not_to_subtract(self) -> None:
        assert labels_of(())["__delta__"] == "false"


class TestSeries:
    def test_are_one_for_each_name(self) -> None:
        assert {frozenset(each) for each in push(*cpu_and_wall()).series} == {
            frozenset({"__name__": name, "__delta__": "false", "service_name": "shop"}.items())
            for name in ("process_cpu", "wall")
        }

    def test_have_allowed_attributes_by_the_names_that_grafana_maps(self) -> None:
        labels = labels_of(
            (
                ("service.name", "shop"),
                ("service.namespace", "eu"),
                ("service.version", "1.2.3"),
                ("k8s.pod.name", "shop-1"),
                ("process.pid", 4711),
                ("process.command_args", ("python", "--token=x")),
            )
        )
        assert labels == {
            "__name__": "process_cpu",
            "__delta__": "false",
            "service_name": "shop",
            "service_namespace": "eu",
            "service_version": "1.2.3",
            "k8s_pod_name": "shop-1",
        }

    def test_a_list_of_ones_own(self) -> None:
        resource: Attributes = (
            ("service.version", "1"),
            ("team", "a"),
            ("canary", True),
            ("9lives", 9),
            ("tags", ("x", "y")),
            ("empty", ""),
        )
        labels = labels_of(resource, labels=("team", "canary", "9lives", "tags", "empty", "none"))
        assert {key: value for key, value in labels.items() if not key.startswith("__")} == {
            "service_name": "unknown_service",
            "team": "a",
            "canary": "true",
            "_9lives": "9",
            "tags": "x,y",
        }

    def test_no_attribute_can_be_what_pyroscope_needs(self) -> None:
        resource: Attributes = (
            ("service.name", "shop"),
            ("service_name", "other"),
            ("__name__", "other"),
        )
        labels = labels_of(resource, labels=("service_name", "service.name", "__name__"))
        assert (labels["service_name"], labels["__name__"]) == ("shop", "process_cpu")

    def test_stay_within_the_limits_of_labels(self) -> None:
        keys = tuple(f"key.{n}" for n in range(50))
        resource: Attributes = tuple((key, "é\udce9" * 3_000) for key in keys)
        assert len(labels_of(resource, labels=keys)) <= 30

    def test_a_pod_has_no_more_for_its_threads(self) -> None:
        assert len(push(*cpu_and_wall()).series) == 2


class TestSampleLabels:
    def test_do_not_leave(self) -> None:
        """Each would be a series, also their names in the table of strings would show them."""
        with http_receiver() as receiver:
            exporter = from_config(Config(pyroscope=PyroscopeSettings(receiver.url)))
            exporter.export(Batch(tuple(cpu_and_wall())), timeout_s=TIMEOUT_S)
            exporter.close()
            pushed = [_pprof(request.body) for request in receiver.requests]
        assert not any(b"MainThread" in profile for profile in pushed)
        assert len(pushed) == 2

    def test_leave_where_they_are_allowed(self) -> None:
        server = push(*cpu_and_wall(), sample_labels=("thread_name", "span"))
        seen = {(dict(each).get("thread_name"), dict(each).get("span")) for each in server.series}
        assert seen == {
            ("MainThread", None),
            ("worker", None),
            ("worker", "unknown"),
            (None, None),
        }
        assert server.sums[CPU] == 70_000_000

    def test_rows_that_only_they_told_apart_are_one_sample(self) -> None:
        profile = profile_of(
            row(LEAF, ROOT, values=(1, 10), thread_name="a"),
            row(LEAF, ROOT, values=(2, 20), thread_name="b"),
        )
        with http_receiver() as receiver:
            exporter = from_config(Config(pyroscope=PyroscopeSettings(receiver.url)))
            exporter.export(Batch((profile,)), timeout_s=TIMEOUT_S)
            exporter.close()
            (request,) = receiver.requests
        (sample,) = Message(_pprof(request.body)).messages(2)
        assert sample.numbers(2) == [3, 30]

    def test_have_a_bounded_number_of_values(self) -> None:
        server = Pyroscope(START_UNIX_NS)
        with pushing(server, sample_labels=("task",)) as exporter:
            for first in (0, 80, 160):
                rows = [row(LEAF, values=(1, 10), task=f"t{first + n}") for n in range(80)]
                batch = Batch((profile_of(*rows),))
                assert exporter.export(batch, timeout_s=TIMEOUT_S) == DELIVERED
        values = {dict(each)["task"] for each in server.series}
        assert len(values) == MAX_SAMPLE_VALUES + 1
        assert OTHER_VALUE in values
        assert server.sums[CPU] == 2_400


class TestLimits:
    def test_a_large_profile_leaves_in_parts_that_add_up(self) -> None:
        profiles = [random_profile(17_000, depth=12), random_profile(100, depth=5, kind="wall")]
        server = push(*profiles)
        assert server.sums[CPU] == sum(profiles[0].column("cpu"))
        assert server.sums[WALL] == sum(profiles[1].column("wall"))
        assert max(server.sizes_bytes) < BURST_BYTES
        assert len(server.ids) > 17_000 / MAX_SAMPLES + 1
        assert len(set(server.ids)) == len(server.ids)

    def test_a_profile_has_its_own_id(self) -> None:
        profiles = cpu_and_wall()
        assert push(*profiles).ids == [str(uuid.UUID(bytes=p.profile_id)) for p in profiles]

    def test_what_is_too_old_is_refused_in_its_words(self) -> None:
        server = Pyroscope(START_UNIX_NS + 2 * 3_600 * 10**9)
        with pushing(server) as exporter:
            outcome = exporter.export(Batch(tuple(cpu_and_wall())), timeout_s=TIMEOUT_S)
        assert outcome.verdict == "refused"
        assert "not_in_ingestion_window" in outcome.reason

    def test_of_two_profiles_one_may_be_too_old(self) -> None:
        cpu, wall = cpu_and_wall()
        server = Pyroscope(START_UNIX_NS)
        old = replace(cpu, start_unix_ns=START_UNIX_NS - 2 * 3_600 * 10**9)
        with pushing(server) as exporter:
            outcome = exporter.export(Batch((old, wall)), timeout_s=TIMEOUT_S)
        assert (outcome.verdict, outcome.rejected_profiles) == ("delivered", 1)
        assert server.sums[WALL] == 130_000_000

    def test_a_pyroscope_that_starts_is_waited_for_but_not_for_ever(self) -> None:
        with http_receiver(Reply(500, body=b"service is unavailable")) as receiver:
            exporter = from_config(Config(pyroscope=PyroscopeSettings(receiver.url)))
            batch = Batch(tuple(cpu_and_wall()))
            first = exporter.export(batch, timeout_s=TIMEOUT_S)
            assert (first.verdict, first.patience_s) == ("retry", 600.0)
            assert exporter.export(batch, timeout_s=TIMEOUT_S) == DELIVERED
            exporter.close()
            assert len(receiver.requests) == 3


class TestRequest:
    def test_is_a_unary_call_of_connect(self) -> None:
        with http_receiver() as receiver:
            exporter = from_config(Config(pyroscope=PyroscopeSettings(receiver.url + "/base/")))
            exporter.export(Batch(tuple(cpu_and_wall())), timeout_s=TIMEOUT_S)
            exporter.close()
            request = receiver.requests[0]
        assert request.path == "/base" + PATH
        assert request.headers["content-type"] == "application/proto"
        assert "x-scope-orgid" not in request.headers
        assert "authorization" not in request.headers

    def test_has_a_pprof_that_our_reader_reads(self) -> None:
        cpu, wall = cpu_and_wall()
        with http_receiver() as receiver:
            exporter = from_config(Config(pyroscope=PyroscopeSettings(receiver.url)))
            exporter.export(Batch((cpu, wall)), timeout_s=TIMEOUT_S)
            exporter.close()
            read = [pprof.decode(_pprof(request.body)) for request in receiver.requests]
        assert [[p.kind for p in profiles] for profiles in read] == [["cpu"], ["wall"]]
        assert [sum(p.values[-1]) for (p,) in read] == [70_000_000, 130_000_000]

    @pytest.mark.parametrize(
        ("settings", "authorization"),
        [
            ({"user": "12345", "password": "secret"}, "Basic MTIzNDU6c2VjcmV0"),
            ({"token": "6d73"}, "Bearer 6d73"),
            ({"token": "6d73", "user": "u", "password": "p"}, "Bearer 6d73"),
            ({"token": "6d73", "headers": (("authorization", "Other x"),)}, "Other x"),
        ],
    )
    def test_authorization(self, settings: dict[str, Any], authorization: str) -> None:
        with http_receiver() as receiver:
            changed = replace(PyroscopeSettings(receiver.url), **settings)
            exporter = from_config(Config(pyroscope=changed))
            exporter.export(Batch(tuple(cpu_and_wall())), timeout_s=TIMEOUT_S)
            exporter.close()
            assert receiver.requests[0].headers["authorization"] == authorization

    def test_a_tenant(self) -> None:
        server = Pyroscope(START_UNIX_NS, wants_tenant=True)
        batch = Batch(tuple(cpu_and_wall()))
        with pushing(server, tenant="shop") as exporter:
            assert exporter.export(batch, timeout_s=TIMEOUT_S) == DELIVERED
        with pushing(server) as exporter:
            outcome: Outcome = exporter.export(batch, timeout_s=TIMEOUT_S)
        assert outcome.verdict == "refused"
        assert "OTELPROF_PYROSCOPE_TENANT" in outcome.reason

    def test_at_a_wrong_url_hints_at_it(self) -> None:
        with http_receiver(then=Reply(404)) as receiver:
            exporter = from_config(Config(pyroscope=PyroscopeSettings(receiver.url)))
            outcome = exporter.export(Batch(tuple(cpu_and_wall())), timeout_s=TIMEOUT_S)
            exporter.close()
        assert outcome.verdict == "refused"
        assert "OTELPROF_PYROSCOPE_ENDPOINT" in outcome.reason

    def test_a_forked_child_has_a_connection_of_its_own(self) -> None:
        batch = Batch((cpu_and_wall()[0],))
        with http_receiver() as receiver:
            exporter = from_config(Config(pyroscope=PyroscopeSettings(receiver.url)))
            exporter.export(batch, timeout_s=TIMEOUT_S)
            exporter.after_fork()
            assert exporter.export(batch, timeout_s=TIMEOUT_S) == DELIVERED
            exporter.close()
            assert len({request.connection for request in receiver.requests}) == 2


def _pprof(request: bytes) -> bytes:
    """The one profile of a push, inflated."""
    (series,) = Message(request).messages(1)
    (sample,) = series.messages(2)
    return gzip.decompress(sample.blob(1))
