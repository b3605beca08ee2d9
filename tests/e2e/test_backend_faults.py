"""Backends that restart, refuse, lose their answer, or are away: nothing that was collected is missing after it.

Delivery is at least once: a profile may arrive twice, under the same id, where a receiver took it and its answer was
lost. Nothing else doubles.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.backends.collector import Ports, collector
from tests.e2e.backends.jaeger import Jaeger
from tests.e2e.backends.pyroscope import CPU, WALL, Pyroscope
from tests.e2e.forwarding import forwarded_to
from tests.e2e.received import Received
from tests.e2e.service import delivered, serve, serving, waiting
from tests.support.ports import free_ports
from tests.support.servers import Arrived, Reply, http_receiver

pytestmark = pytest.mark.backend

# A minute is the most between two attempts as they are by default; tests need not wait for it.
SOON = {"OTELPROF_RETRY_BACKOFF": "fixed:1s"}
FLUSH_S = 2
# Minutes where all backends are required, which is where tests may take their time.
OUTAGE_S = 120 if os.environ.get("OTELPROF_REQUIRE_BACKENDS") == "all" else 10


def test_a_collector_that_restarts_gets_what_was_collected_without_it(
    tmp_path: Path, jaeger: Jaeger
) -> None:
    ports = Ports.free()
    variables = {
        "OTELPROF_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{ports.http}",
        **SOON,
    }
    with serving("restarted", tmp_path, jaeger, **variables) as service:
        with collector(tmp_path, ports=ports):
            service.wait_for_flushes(2)
        service.wait_for_flushes(2)
        assert waiting(tmp_path)
        with collector(tmp_path, ports=ports) as running:
            service.wait_until_delivered()
            finished = service.end()
            served = delivered("restarted", tmp_path, jaeger, finished, **variables)
            running.stop()
            received = Received(running.written)

    came = Counter(received.profile_ids)
    twice = [profile_id for profile_id, count in came.items() if count > 1]
    # Only what was under way when it went can come again: a batch, which has one profile of each kind.
    assert len(twice) <= 2, came
    assert received.without_doubles[("samples", "cpu")] == served.total("cpu", "samples")
    assert received.without_doubles[("wall", "wall")] == served.total("wall", "wall")
    served.check_traces(jaeger)


@pytest.mark.parametrize(
    "refusals",
    [
        (Reply(429), Reply(429)),
        (Reply(429, headers=(("Retry-After", "2"),)),),
        (Reply(500), Reply(502), Reply(503), Reply(504)),
        (Reply(hangs_up=True),),
    ],
    ids=["429", "429-retry-after", "5xx", "hangs-up"],
)
def test_a_pyroscope_that_refuses_for_now_has_all_of_it_once(
    refusals: tuple[Reply, ...],
    tmp_path: Path,
    jaeger: Jaeger,
    pyroscope: Pyroscope,
    request: pytest.FixtureRequest,
) -> None:
    name = f"refused-{request.node.callspec.id}"
    with http_receiver(*refusals, then=forwarded_to(pyroscope.url)) as server:
        served = serve(
            name,
            tmp_path,
            jaeger,
            OTELPROF_EXPORTER="pyroscope",
            OTELPROF_PYROSCOPE_ENDPOINT=server.url,
            **SOON,
        )
    pyroscope.wait_for_total(name, CPU, served.total("cpu", "cpu"))
    pyroscope.wait_for_total(name, WALL, served.total("wall", "wall"))


def test_an_answer_that_is_lost_doubles_that_profile_and_no_other(
    tmp_path: Path, jaeger: Jaeger, pyroscope: Pyroscope
) -> None:
    forward = forwarded_to(pyroscope.url)
    taken: list[bytes] = []

    def taken_but_not_said(request: Arrived) -> Reply:
        forward(request)
        taken.append(request.body)
        return Reply(hangs_up=True)

    with http_receiver(taken_but_not_said, then=forward) as server:
        served = serve(
            "answer-lost",
            tmp_path,
            jaeger,
            OTELPROF_EXPORTER="pyroscope",
            OTELPROF_PYROSCOPE_ENDPOINT=server.url,
            **SOON,
        )
        bodies = Counter(request.body for request in server.requests)
    assert bodies.pop(taken[0]) == 2
    assert set(bodies.values()) == {1}
    first = {profile.kind: profile for profile in reversed(served.profiles)}
    cpu_ns, wall_ns = served.total("cpu", "cpu"), served.total("wall", "wall")
    # Pyroscope does not look at ids: what comes twice counts twice.
    doubled = {
        (cpu_ns + sum(first["cpu"].column("cpu")), wall_ns),
        (cpu_ns, wall_ns + sum(first["wall"].column("wall"))),
    }
    found = tuple(pyroscope.flamegraph(served.name, each).total for each in (CPU, WALL))
    assert found in doubled


def test_a_backend_that_is_away_gets_it_all_when_it_is_back(
    tmp_path: Path, jaeger: Jaeger, pyroscope: Pyroscope
) -> None:
    (port,) = free_ports(1)
    variables = {
        "OTELPROF_EXPORTER": "pyroscope",
        "OTELPROF_PYROSCOPE_ENDPOINT": f"http://127.0.0.1:{port}",
        **SOON,
    }
    with serving("away", tmp_path, jaeger, **variables) as service:
        service.wait_for_flushes(OUTAGE_S // FLUSH_S)
        assert waiting(tmp_path) >= OUTAGE_S // FLUSH_S - 1
        with http_receiver(then=forwarded_to(pyroscope.url), port=port):
            service.wait_until_delivered()
            finished = service.end()
            served = delivered("away", tmp_path, jaeger, finished, **variables)
    pyroscope.wait_for_total("away", CPU, served.total("cpu", "cpu"))
    pyroscope.wait_for_total("away", WALL, served.total("wall", "wall"))


def test_what_a_process_could_not_deliver_comes_with_the_next_of_its_service(
    tmp_path: Path, jaeger: Jaeger, pyroscope: Pyroscope
) -> None:
    (port,) = free_ports(1)
    variables = {
        "OTELPROF_EXPORTER": "pyroscope",
        "OTELPROF_PYROSCOPE_ENDPOINT": f"http://127.0.0.1:{port}",
        **SOON,
    }
    with serving("inherited", tmp_path, jaeger, **variables) as service:
        service.wait_for_flushes(2)
        finished = service.end()
    assert waiting(tmp_path)
    assert "for the next process" in finished.err
    with http_receiver(then=forwarded_to(pyroscope.url), port=port):
        served = delivered("inherited", tmp_path, jaeger, finished, **variables)
    pyroscope.wait_for_total("inherited", CPU, served.total("cpu", "cpu"))


def test_a_collector_without_the_gate_is_named_once_and_the_service_runs_on(
    tmp_path: Path, jaeger: Jaeger
) -> None:
    with collector(tmp_path, gate=False) as running:
        served = serve(
            "gateless",
            tmp_path,
            jaeger,
            OTELPROF_EXPORTER="otlp",
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_EXPORTER_OTLP_ENDPOINT=running.http_endpoint,
        )
    (line,) = (line for line in served.errors.splitlines() if "otelprof" in line)
    assert "refused and dropped" in line
    assert "--feature-gates=service.profilesSupport" in line
    served.check_against_the_clocks()  # the files have it all
    served.check_traces(jaeger)
