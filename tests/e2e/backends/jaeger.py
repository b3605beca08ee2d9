"""Jaeger: takes traces by OTLP, keeps them in memory, and gives them back by its query API v3."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.e2e.backends.processes import answers, running
from tests.e2e.backends.programs import JAEGER, required
from tests.support.ports import free_ports

_EXAMPLE = Path(__file__).parents[3] / "examples" / "jaeger"
UI_CONFIG = _EXAMPLE / "ui.json"
_FOUND_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class JaegerSpan:
    """A span as Jaeger has it.

    Attributes:
        attributes: its own; of OTLP's values those that are text.
        resource: the attributes of what it came from.
    """

    trace_id: str
    span_id: str
    name: str
    start_unix_ns: int
    end_unix_ns: int
    attributes: dict[str, str]
    resource: dict[str, str]


@dataclass(frozen=True)
class Jaeger:
    """A running Jaeger."""

    http_endpoint: str
    grpc_endpoint: str
    query_url: str

    def variables(self) -> dict[str, str]:
        """What an application needs in its environment to send its traces here, soon after each span."""
        return {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": self.grpc_endpoint,
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
            "OTEL_BSP_SCHEDULE_DELAY": "500",
        }

    def trace(self, trace_id: str, spans: int) -> list[JaegerSpan]:
        """The spans of a trace, as soon as there are so many."""
        deadline = time.monotonic() + _FOUND_TIMEOUT_S
        while len(found := self._trace(trace_id)) < spans:
            assert time.monotonic() < deadline, f"{len(found)} spans of {trace_id}, not {spans}"
            time.sleep(0.2)
        return found

    def _trace(self, trace_id: str) -> list[JaegerSpan]:
        answer = requests.get(f"{self.query_url}/api/v3/traces/{trace_id}", timeout=30)
        if answer.status_code == 404:  # nothing of it has arrived yet
            return []
        assert answer.status_code == 200, answer.text
        return [
            _span(span, _texts(of_resource["resource"]["attributes"]))
            for of_resource in answer.json()["result"]["resourceSpans"]
            for of_scope in of_resource["scopeSpans"]
            for span in of_scope["spans"]
        ]


def _span(span: dict[str, Any], resource: dict[str, str]) -> JaegerSpan:
    return JaegerSpan(
        trace_id=span["traceId"],
        span_id=span["spanId"],
        name=span["name"],
        start_unix_ns=int(span["startTimeUnixNano"]),
        end_unix_ns=int(span["endTimeUnixNano"]),
        attributes=_texts(span.get("attributes", [])),
        resource=resource,
    )


def _texts(attributes: list[dict[str, Any]]) -> dict[str, str]:
    return {
        each["key"]: each["value"]["stringValue"]
        for each in attributes
        if "stringValue" in each["value"]
    }


@contextmanager
def jaeger(directory: Path, *, page: Path | None = None) -> Iterator[Jaeger]:
    """A Jaeger on loopback, as examples/jaeger has it, but for the ports.

    Args:
        directory: gets its configuration and its log.
        page: where its page is, as jaeger-ui builds it: one that is built of its Go module has none.
    """
    ports = free_ports(4)
    grpc, http, query_http, query_grpc = (f"127.0.0.1:{port}" for port in ports)
    config = yaml.safe_load((_EXAMPLE / "jaeger.yaml").read_text())
    query = config["extensions"]["jaeger_query"]
    query["http"]["endpoint"], query["grpc"]["endpoint"] = query_http, query_grpc
    query["ui"]["config_file"] = str(UI_CONFIG)
    if page is not None:
        query["ui"]["assets_path"] = str(page)
    protocols = config["receivers"]["otlp"]["protocols"]
    protocols["grpc"]["endpoint"], protocols["http"]["endpoint"] = grpc, http
    # Else it opens another port for its own metrics.
    config["service"]["telemetry"] = {"metrics": {"level": "none"}}
    path = directory / "jaeger.yaml"
    path.write_text(yaml.safe_dump(config))
    command: list[str | Path] = [required(JAEGER), "--config", path]
    url = f"http://{query_http}"

    def is_ready() -> bool:
        return answers(f"{url}/api/v3/services", 200) and answers(f"http://{http}")

    with running("jaeger", command, directory, is_ready):
        yield Jaeger(f"http://{http}", f"http://{grpc}", url)
