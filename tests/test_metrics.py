"""The profiler's own metrics, as OpenTelemetry's SDK reads them."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import Finished, run
from tests.support.servers import Arrived, Reply, http_receiver

# Before and after the profiler starts: the MeterProvider of the application.
PROGRAM = """
import json, os, sys
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
import otelprof
from tests.targets.burning import burn

reader = InMemoryMetricReader()

def provide():
    metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))

def read():
    found = {}
    for resource in reader.get_metrics_data().resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                found[metric.name] = {
                    "unit": metric.unit,
                    "monotonic": metric.data.is_monotonic,
                    "points": [[dict(p.attributes), p.value] for p in metric.data.data_points],
                }
    return found

if sys.argv[1] == "before":
    provide()
exporters = "otlp,nothing" if sys.argv[1] == "dropped" else "otlp"
profiler = otelprof.start(flush_s=3600, exporters=exporters)
other = otelprof.Profiler(exporters="none")
other.start()
burn()
profiler.flush(20)
if sys.argv[1] in {"after", "dropped"}:
    provide()
other.stop()
child = {}
if sys.argv[1] == "fork":
    reading, writing = os.pipe()
    if not os.fork():
        provide()
        profiler.flush(0)
        os.write(writing, json.dumps(read()).encode())
        os._exit(0)
    os.close(writing)
    child = json.load(os.fdopen(reading))
    os.wait()
    provide()
health = dict(profiler.health())
print(json.dumps({"metrics": read(), "health": health, "child": child}))
"""


def told(cwd: Path, endpoint: str, way: str) -> Finished:
    variables = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT": endpoint,
        "OTELPROF_STATE_DIR": str(cwd / "state"),
    }
    finished = run([sys.executable, "-c", PROGRAM, way], cwd, variables)
    assert finished.code == 0, finished.err
    return finished


def value(metrics: dict[str, Any], name: str, **attributes: str) -> float:
    (found,) = [v for a, v in metrics[name]["points"] if a == attributes]
    return float(found)


def length_of(request: Arrived) -> int:
    """Of its body, as it came."""
    return int(request.headers["content-length"])


@pytest.mark.parametrize("way", ["before", "after"])
def test_are_those_of_health_whenever_the_provider_comes(tmp_path: Path, way: str) -> None:
    with http_receiver(then=Reply()) as receiver:
        finished = told(tmp_path, receiver.endpoint, way)
        request = receiver.requests[0]
    metrics, health = finished.facts["metrics"], finished.facts["health"]
    assert finished.said == []
    assert health["otlp.delivered_profiles"] > 0
    for what in ("profiles", "samples"):
        for state in ("collected", "adopted", "delivered", "refused", "retried", "left", "waiting"):
            name = f"otelprof.{what}.{state}"
            assert value(metrics, name, exporter="otlp") == health.get(f"otlp.{state}_{what}", 0)
            assert metrics[name]["unit"] == f"{{{what[:-1]}}}"
            assert metrics[name]["monotonic"] is (state != "waiting")
        for step in ("encoded", "spooled"):
            name = f"otelprof.{what}.{step}"
            assert value(metrics, name) == health[f"{step}_{what}"] > 0
            assert (metrics[name]["unit"], metrics[name]["monotonic"]) == (f"{{{what[:-1]}}}", True)
    assert value(metrics, "otelprof.exports", exporter="otlp") == health["otlp.exports"] == 1
    assert 0 < value(metrics, "otelprof.export.time", exporter="otlp") < 20
    assert metrics["otelprof.delivered.size"]["unit"] == "By"
    size_bytes = value(metrics, "otelprof.delivered.size", exporter="otlp")
    assert size_bytes == health["otlp.delivered_bytes"] == length_of(request)
    assert value(metrics, "otelprof.spool.written.size") == health["spooled_bytes"] > 0
    assert value(metrics, "otelprof.spool.size") == 0


def test_name_the_reason_of_what_is_dropped(tmp_path: Path) -> None:
    with http_receiver(then=Reply()) as receiver:
        finished = told(tmp_path, receiver.endpoint, "dropped")
    dropped = finished.facts["metrics"]["otelprof.profiles.dropped"]["points"]
    assert [attributes for attributes, _ in dropped] == [
        {"exporter": "nothing", "reason": "broken"}
    ]
    assert dropped[0][1] == finished.facts["health"]["nothing.dropped_profiles.broken"] > 0


def test_of_a_child_are_its_own(tmp_path: Path) -> None:
    with http_receiver(then=Reply()) as receiver:
        finished = told(tmp_path, receiver.endpoint, "fork")
    delivered = "otelprof.profiles.delivered"
    assert value(finished.facts["metrics"], delivered, exporter="otlp") > 0
    assert value(finished.facts["child"], delivered, exporter="otlp") == 0
