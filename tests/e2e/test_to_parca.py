"""A service's profiles in Parca: by OTLP over gRPC, and as the pprof files that it wrote."""

import pytest

from otelprof.formats import pprof
from tests.e2e.backends.jaeger import Jaeger
from tests.e2e.backends.parca import Parca
from tests.e2e.service import COMPUTING, PERIOD_NS, Served, serve
from tests.support.waiting import wait_until

pytestmark = pytest.mark.backend

# Parca calls a profile that came by OTLP as its scope is called; it multiplies counts of CPU by their period.
OTLP_CPU = "otelprof:samples:count:cpu:nanoseconds:delta"
OTLP_WALL = "otelprof:wall:nanoseconds:wall:nanoseconds:delta"
PPROF_CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta"
FOUND_TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, jaeger: Jaeger, parca: Parca) -> Served:
    return serve(
        "to-parca",
        tmp_path_factory.mktemp("parca"),
        jaeger,
        OTELPROF_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT=parca.url,
        OTEL_EXPORTER_OTLP_PROFILES_PROTOCOL="grpc",
        OTEL_RESOURCE_ATTRIBUTES="service.version=1.2.3",
    )


def wait_for_total(parca: Parca, profile_type: str, total: int, **labels: str) -> None:
    wait_until(
        lambda: parca.flamegraph(profile_type, **labels).total == total,
        FOUND_TIMEOUT_S,
        poll_s=0.2,
        what=f"{profile_type} of {labels} is {total}",
    )


def test_otlp_over_grpc_is_found_by_type_and_label(served: Served, parca: Parca) -> None:
    cpu_ns = served.total("cpu", "samples") * PERIOD_NS
    wait_for_total(parca, OTLP_CPU, cpu_ns, service_name=served.name)
    wait_for_total(parca, OTLP_CPU, cpu_ns, service_name=served.name, service_version="1.2.3")
    wait_for_total(parca, OTLP_WALL, served.total("wall", "wall"), service_name=served.name)
    assert parca.flamegraph(OTLP_CPU, service_name=served.name, service_version="2").total == 0
    assert {OTLP_CPU, OTLP_WALL} <= parca.types()
    assert served.name in parca.label_values("service_name")
    assert abs(cpu_ns - served.total("cpu", "cpu")) < PERIOD_NS


@pytest.mark.xfail(
    reason="v0.28.0 takes a function's name from the row before it (pkg/profile/encode.go)"
)
def test_otlp_has_the_names_of_functions(served: Served, parca: Parca) -> None:
    graph = parca.flamegraph(OTLP_CPU, service_name=served.name)
    own = graph.bare()
    assert sum(own[name] for name in COMPUTING.values()) > 0.5 * graph.total


def test_pprof_is_found_by_type_and_label(served: Served, parca: Parca) -> None:
    for profile in served.of_kind("cpu"):
        parca.write({"__name__": "process_cpu", "service_name": "pushed"}, pprof.encode([profile]))
    wait_for_total(parca, PPROF_CPU, served.total("cpu", "cpu"), service_name="pushed")
    assert PPROF_CPU in parca.types()
    graph = parca.flamegraph(PPROF_CPU, service_name="pushed")
    own = graph.bare()
    assert sum(own[name] for name in COMPUTING.values()) > 0.5 * graph.total


def test_samples_say_what_the_clocks_say_and_jaeger_has_the_spans(
    served: Served, jaeger: Jaeger
) -> None:
    served.check_against_the_clocks()
    served.check_traces(jaeger)
