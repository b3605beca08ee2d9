"""The OpenTelemetry Collector: takes OTLP, writes profiles to a file, and forwards what it is told to."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.backends.processes import answers, running
from tests.e2e.backends.programs import COLLECTOR, required
from tests.support.ports import free_ports

FILE = "file"


@dataclass(frozen=True)
class Ports:
    """Where a Collector listens; a second one on the same ports is the first restarted."""

    grpc: int
    http: int

    @classmethod
    def free(cls) -> "Ports":
        """Two that nothing listens on."""
        return cls(*free_ports(2))


@dataclass(frozen=True)
class Collector:
    """A running Collector. `written`, one JSON line for each batch, is complete when `stop` has returned."""

    http_endpoint: str
    grpc_endpoint: str
    written: Path
    stop: Callable[[], None]

    def endpoint(self, protocol: str) -> str:
        """Where OTLP goes by `grpc` or `http/protobuf`."""
        return self.grpc_endpoint if protocol == "grpc" else self.http_endpoint


@contextmanager
def collector(
    directory: Path,
    *,
    gate: bool = True,
    forwards_to: str = "",
    forwards_by_grpc_to: str = "",
    traces_to: str = "",
    ports: Ports | None = None,
) -> Iterator[Collector]:
    """A Collector on loopback.

    Args:
        directory: gets its configuration, its log and `profiles.jsonl`, which it appends to.
        gate: with the feature gate for profiles. Without, a pipeline for them is refused at start, and it takes
            traces only, as most Collectors do.
        forwards_to: base URL of OTLP/HTTP that profiles go to as well.
        forwards_by_grpc_to: the same with OTLP/gRPC.
        traces_to: address of OTLP/gRPC that traces go to; without, they go to the file where `gate` is off.
        ports: where it listens; without, on free ones.
    """
    ports = ports or Ports.free()
    written = directory / "profiles.jsonl"
    config = directory / "collector.yaml"
    exporters = [f"  file: {{path: {written}, append: true}}"]
    if forwards_to:
        exporters.append(f"  otlp_http/profiles: {{endpoint: {forwards_to}}}")
    for name, endpoint in (("profiles", forwards_by_grpc_to), ("traces", traces_to)):
        if endpoint:
            exporters.append(
                f"  otlp_grpc/{name}: {{endpoint: {endpoint}, tls: {{insecure: true}}}}"
            )
    pipelines: list[str] = []
    if gate:
        forwarders = {"otlp_http/profiles": forwards_to, "otlp_grpc/profiles": forwards_by_grpc_to}
        pipelines.append(
            _pipeline("profiles", [FILE, *(name for name, there in forwarders.items() if there)])
        )
    if traces_to or not gate:
        pipelines.append(_pipeline("traces", ["otlp_grpc/traces" if traces_to else FILE]))
    config.write_text(
        "\n".join(
            (
                "receivers:",
                "  otlp:",
                "    protocols:",
                f"      grpc: {{endpoint: 127.0.0.1:{ports.grpc}}}",
                f"      http: {{endpoint: 127.0.0.1:{ports.http}}}",
                "exporters:",
                *exporters,
                "service:",
                "  telemetry: {metrics: {level: none}}",
                "  pipelines:",
                *pipelines,
                "",
            )
        )
    )
    command: list[str | Path] = [required(COLLECTOR), "--config", config]
    command += ["--feature-gates=service.profilesSupport"] if gate else []
    url = f"http://127.0.0.1:{ports.http}"
    with running("collector", command, directory, lambda: answers(url)) as process:
        yield Collector(url, f"http://127.0.0.1:{ports.grpc}", written, process.stop)


def _pipeline(signal: str, exporters: Sequence[str]) -> str:
    return f"    {signal}: {{receivers: [otlp], exporters: [{', '.join(exporters)}]}}"
