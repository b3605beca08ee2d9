"""Parca: takes pprof and OTLP on one port, and answers queries by type and label."""

import base64
import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from tests.e2e.backends.flamegraphs import FlameGraph
from tests.e2e.backends.processes import answers, running
from tests.e2e.backends.programs import PARCA, required
from tests.support.ports import free_ports
from tests.support.waiting import wait_until
from tests.support.wire import Message

# It calls a profile that came by OTLP as its scope is called, and multiplies counts of CPU by their period.
OTLP_CPU = "otelprof:samples:count:cpu:nanoseconds:delta"
OTLP_WALL = "otelprof:wall:nanoseconds:wall:nanoseconds:delta"


@dataclass(frozen=True)
class Parca:
    """A running Parca."""

    url: str

    def write(self, labels: Mapping[str, str], pprof: bytes) -> None:
        """Push a pprof file."""
        series = {
            "labels": {
                "labels": [{"name": name, "value": value} for name, value in labels.items()]
            },
            "samples": [{"raw_profile": base64.b64encode(pprof).decode()}],
        }
        answer = requests.post(
            f"{self.url}/api/profiles/writeraw", json={"series": [series]}, timeout=30
        )
        assert answer.status_code == 200, answer.text

    def types(self) -> set[str]:
        """The types of profile that it has, as queries name them."""
        found = set[str]()
        for each in self._get("/api/profiles/types").get("types", []):
            parts = [each["name"], each["sampleType"], each["sampleUnit"]]
            parts += [each["periodType"], each["periodUnit"]]
            found.add(":".join(parts + ["delta"] * bool(each.get("delta"))))
        return found

    def labels(self) -> set[str]:
        """The names of the labels that it has."""
        return set(self._get("/api/profiles/labels").get("labelNames", []))

    def label_values(self, name: str) -> set[str]:
        """The values of a label."""
        return set(self._get(f"/api/profiles/labels/{name}/values").get("labelValues", []))

    def flamegraph(self, profile_type: str, **labels: str) -> FlameGraph:
        """What all profiles of a type have whose labels are these, merged."""
        selector = ",".join(f'{name}="{value}"' for name, value in labels.items())
        now = datetime.now(UTC)
        answer = self._get(
            "/api/profiles/query",
            **{
                "mode": "MODE_MERGE",
                "merge.query": f"{profile_type}{{{selector}}}",
                "merge.start": (now - timedelta(hours=1)).isoformat(),
                "merge.end": (now + timedelta(minutes=1)).isoformat(),
                # Not its own list of functions: v0.28.0 ends with a nil pointer where a frame has the first row of OTLP's
                # functions, which it takes for the null row before it.
                "report_type": "REPORT_TYPE_PPROF",
                "node_trim_threshold": "0",
            },
        )
        return _graph(Message(gzip.decompress(base64.b64decode(answer["pprof"]))))

    def wait_for_total(self, profile_type: str, total: int, **labels: str) -> None:
        """Wait until profiles with these labels have exactly this."""
        wait_until(
            lambda: self.flamegraph(profile_type, **labels).total == total,
            60.0,
            poll_s=0.2,
            what=f"{profile_type} of {labels} is {total}",
        )

    def _get(self, path: str, **parameters: str) -> dict[str, Any]:
        answer = requests.get(self.url + path, params=parameters, timeout=30)
        assert answer.status_code == 200, f"{path}: {answer.text}"
        body: dict[str, Any] = answer.json()
        return body


def _graph(profile: Message) -> FlameGraph:
    """What a pprof file with one type of value says (google/pprof, proto/profile.proto)."""
    strings = profile.texts(6)
    names = {each.number(1): strings[each.number(2)] for each in profile.messages(5)}
    leaf_of = {each.number(1): names[each.messages(4)[0].number(1)] for each in profile.messages(4)}
    own: Counter[str] = Counter()
    for sample in profile.messages(2):
        own[leaf_of[sample.numbers(1)[0]]] += sample.numbers(2)[0]
    return FlameGraph(own.total(), +own)


@contextmanager
def parca(directory: Path, scrape_configs: list[dict[str, Any]] | None = None) -> Iterator[Parca]:
    """A Parca on loopback, which scrapes what `scrape_configs` says."""
    (port,) = free_ports(1)
    bucket = {"type": "FILESYSTEM", "config": {"directory": str(directory / "bucket")}}
    config = {"object_storage": {"bucket": bucket}, "scrape_configs": scrape_configs or []}
    path = directory / "parca.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    command: list[str | Path] = [
        required(PARCA),
        f"--config-path={path}",
        f"--http-address=127.0.0.1:{port}",
        "--log-level=info",
    ]
    url = f"http://127.0.0.1:{port}"
    with running("parca", command, directory, lambda: answers(f"{url}/api/profiles/types", 200)):
        yield Parca(url)
