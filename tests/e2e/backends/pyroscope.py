"""Grafana Pyroscope: takes pushes and OTLP, and answers the queries that Grafana asks.

The program is one of the user's own; where there is none, a stand-in with its rules takes its place.
"""

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import requests

from tests.e2e.backends import programs
from tests.e2e.backends.flamegraphs import FlameGraph
from tests.e2e.backends.processes import answers, running
from tests.e2e.backends.stand_in import stand_in
from tests.support.ports import free_ports
from tests.support.waiting import wait_until

CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
WALL = "wall:wall:nanoseconds:wall:nanoseconds"

_LOOPBACK = (
    "server.http-listen-address",
    "server.grpc-listen-address",
    "distributor.ring.instance-addr",
    "memberlist.bind-addr",
    "memberlist.advertise-addr",
    "segment-writer.lifecycler.addr",
    "overrides-exporter.ring.instance-addr",
    "query-frontend.instance-addr",
    "query-scheduler.ring.instance-addr",
)
_HOUR_MS = 3_600_000
_MAX_NODES = 100_000


@dataclass(frozen=True)
class Pyroscope:
    """A running Pyroscope, or what stands in for it."""

    url: str
    version: str

    @property
    def otlp_variables(self) -> dict[str, str]:
        """What an application needs in its environment to send profiles by OTLP."""
        return {
            "OTELPROF_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT": f"{self.url}/v1development/profiles",
            "OTEL_EXPORTER_OTLP_PROFILES_PROTOCOL": "http/protobuf",
        }

    @property
    def push_variables(self) -> dict[str, str]:
        """What an application needs in its environment to push profiles."""
        return {"OTELPROF_EXPORTER": "pyroscope", "OTELPROF_PYROSCOPE_ENDPOINT": self.url}

    def flamegraph(
        self,
        service: str,
        profile_type: str,
        *,
        spans: Sequence[str] = (),
        traces: Sequence[str] = (),
        query: str = "SelectMergeStacktraces",
        labels: Mapping[str, str] = MappingProxyType({}),
    ) -> FlameGraph:
        """What Grafana would show of a service: of all, or of the spans or traces of these ids, or with these `labels`."""
        wanted = {"service_name": service, **labels}
        selector = ",".join(f'{_quoted(name)}="{value}"' for name, value in wanted.items())
        question: dict[str, Any] = {
            "profileTypeID": profile_type,
            "labelSelector": f"{{{selector}}}",
            "maxNodes": _MAX_NODES,
        }
        if spans:
            question["spanSelector"] = list(spans)
        if traces:
            question["traceIdSelector"] = list(traces)
        return FlameGraph.of(self.ask(query, **question))

    def wait_for_total(
        self,
        service: str,
        profile_type: str,
        total: int,
        labels: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Wait until a service has exactly this: what was pushed can be asked for a moment later."""
        wait_until(
            lambda: self.flamegraph(service, profile_type, labels=labels).total == total,
            60.0,
            poll_s=0.2,
            what=f"{profile_type} of {service} {dict(labels)} is {total}",
        )

    def types(self) -> set[str]:
        """The types of profile that Grafana would offer."""
        return {each["ID"] for each in self.ask("ProfileTypes").get("profileTypes", [])}

    def label_names(self) -> set[str]:
        """The names of the labels of all series."""
        return set(self.ask("LabelNames").get("names", []))

    def label_values(self, name: str) -> set[str]:
        """The values of a label."""
        return set(self.ask("LabelValues", name=name).get("names", []))

    def ask(self, query: str, **question: Any) -> dict[str, Any]:
        """Ask something about the last hour, unless `start` and `end`, in milliseconds, say otherwise."""
        now_ms = time.time_ns() // 1_000_000
        asked = {"start": now_ms - _HOUR_MS, "end": now_ms + _HOUR_MS // 6, **question}
        answer = requests.post(
            f"{self.url}/querier.v1.QuerierService/{query}", json=asked, timeout=60
        )
        assert answer.status_code == 200, f"{query}: {answer.status_code} {answer.text}"
        body: dict[str, Any] = answer.json()
        return body


@contextmanager
def pyroscope(directory: Path) -> Iterator[Pyroscope]:
    """A Pyroscope of its own on loopback, or the stand-in."""
    program = programs.pyroscope()
    if program is None:
        programs.note("pyroscope", programs.STAND_IN)
        with stand_in() as server:
            yield Pyroscope(server.url, programs.STAND_IN)
        return
    version = _version(program)
    programs.note("pyroscope", version)
    http_port, grpc_port, gossip_port, raft_port = free_ports(4)
    url = f"http://127.0.0.1:{http_port}"
    grpc, raft = f"127.0.0.1:{grpc_port}", f"127.0.0.1:{raft_port}"
    flags = {
        "target": "all",
        "architecture.storage": "v2",  # with the default, queries go to an address that is not loopback
        **dict.fromkeys(_LOOPBACK, "127.0.0.1"),
        "server.http-listen-port": http_port,
        "server.grpc-listen-port": grpc_port,
        "memberlist.bind-port": gossip_port,
        "metastore.address": grpc,
        "query-backend.address": grpc,
        "metastore.raft.bind-address": raft,
        "metastore.raft.advertise-address": raft,
        "metastore.raft.server-id": raft,
        "self-profiling.disable-push": "true",
        "usage-stats.enabled": "false",
        "storage.backend": "filesystem",
        "storage.filesystem.dir": directory / "blocks",
        "metastore.data-dir": directory / "metastore",
        "metastore.raft.dir": directory / "raft",
        "metastore.raft.snapshots-dir": directory / "snapshots",
        "metastore.min-ready-duration": "0",
        "segment-writer.min-ready-duration": "0",
        "distributor.ring.store": "inmemory",
        "overrides-exporter.ring.store": "inmemory",
        "query-scheduler.ring.store": "inmemory",
        "querier.max-query-lookback": "0",
    }
    command = [program, *(f"-{name}={value}" for name, value in flags.items())]

    def is_ready() -> bool:
        # Ready, it still answers 500 until its writer has joined the ring.
        return answers(f"{url}/ready", 200) and answers(f"{url}/ring-segment-writer", 200, "ACTIVE")

    with running("pyroscope", command, directory, is_ready):
        yield Pyroscope(url, version)


def _quoted(name: str) -> str:
    """The name of a label in a selector. Those that come by OTLP may have dots."""
    return f'"{name}"' if "." in name else name


def _version(program: str) -> str:
    """What it says of itself: `pyroscope, version 2.2.1 (branch: …`."""
    said = subprocess.run(
        [program, "-version"], capture_output=True, text=True, timeout=60, check=False
    )
    words = (said.stdout + said.stderr).split("version ", 1)[-1].split()
    return words[0] if words else "of unknown version"
