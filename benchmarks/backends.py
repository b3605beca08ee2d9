"""What it takes until a profile can be asked for, in real backends on this machine; and what it costs.

    python -m benchmarks.backends --flushes 12 --stacks 100

A pipeline flushes the same profiles, cpu and wall, each time when those before can be asked for. From a flush until a
query shows it goes through the spool, the exporter and the backend; a sample waits for its flush besides, half of
OTELPROF_FLUSH in the mean. CPU time is that of the exporter's thread. At the end the backend must have all of it:
the difference in nanoseconds is printed.

The last line is an outage: so many flushes while nobody takes them, then the time until all can be asked for.
"""

import argparse
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import otelprof
from benchmarks.delivery import Repeating, profile_of
from otelprof.config import Config
from otelprof.delivery.limits import Limits
from otelprof.exporter_settings import OtlpProtocol, OtlpSettings, PyroscopeSettings
from otelprof.exporters import otlp as over_otlp
from otelprof.exporters import pyroscope as pushed
from otelprof.interfaces import Exporter
from otelprof.pipeline import Pipeline
from tests.e2e.backends import collector as collectors
from tests.e2e.backends import parca as parcas
from tests.e2e.backends import programs
from tests.e2e.backends import pyroscope as pyroscopes
from tests.e2e.backends.collector import Collector
from tests.e2e.backends.parca import OTLP_CPU, Parca
from tests.e2e.backends.pyroscope import CPU, Pyroscope
from tests.e2e.forwarding import forwarded_to
from tests.e2e.received import Received
from tests.support.ports import free_ports
from tests.support.servers import http_receiver

_WARM_UP = 2
_PERIOD_NS = 10_000_000
_POLL_S = 0.01
_TIMEOUT_S = 120.0
_HOUR_S = 3600.0


@dataclass(frozen=True)
class Way:
    """How profiles get to where they are asked for.

    Attributes:
        build: makes the exporter.
        cpu_ns: what is there of a service's CPU time.
    """

    name: str
    build: Callable[[], Exporter]
    cpu_ns: Callable[[str], int]


def main() -> None:
    """Measure all ways and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flushes", type=int, default=12)
    parser.add_argument("--stacks", type=int, default=100, help="distinct stacks of each kind")
    options = parser.parse_args()
    with ExitStack() as running, tempfile.TemporaryDirectory() as directory:
        ways = list(_ways(running, Path(directory)))
        version, load = platform.python_version(), os.getloadavg()[0]
        print(f"Python {version}, otelprof {otelprof.__version__}, load {load:.1f}")
        print(programs.used())
        print(f"{'way':32s} s to queryable: median, all    lane ms a flush  difference")
        for number, way in enumerate(ways):
            delays_s, lane_ms, difference_ns = _measured(way, f"way-{number}", options)
            low, median, high = min(delays_s), statistics.median(delays_s), max(delays_s)
            print(
                f"{way.name:32s} {median:18.2f}, {low:.2f} to {high:.2f} {lane_ms:16.1f} {difference_ns:11d}"
            )
        delay_s, difference_ns = _outage(_pyroscope(running, Path(directory), "outage"), options)
        print(
            f"{options.flushes} flushes after an outage: all there {delay_s:.1f} s after it, difference {difference_ns}"
        )


def _ways(running: ExitStack, directory: Path) -> Iterator[Way]:
    pyroscope = _pyroscope(running, directory, "pyroscope")
    parca: Parca = running.enter_context(parcas.parca(_made(directory / "parca")))

    def at_pyroscope(service: str) -> int:
        return pyroscope.flamegraph(service, CPU).total

    for protocol in ("http/protobuf", "grpc"):
        of_file = running.enter_context(collectors.collector(_made(directory / protocol[:4])))
        yield Way(f"Collector, its file, {protocol}", _otlp(of_file, protocol), _in_file(of_file))
    forwarding = running.enter_context(
        collectors.collector(_made(directory / "on"), forwards_to=pyroscope.url)
    )
    yield Way("Collector, Pyroscope", _otlp(forwarding, "http/protobuf"), at_pyroscope)
    direct = OtlpSettings("http/protobuf", f"{pyroscope.url}/v1development/profiles")
    yield Way("Pyroscope, OTLP", lambda: over_otlp.from_config(Config(otlp=direct)), at_pyroscope)
    yield Way("Pyroscope, push", lambda: _push(pyroscope.url), at_pyroscope)
    by_grpc = OtlpSettings("grpc", parca.url)
    yield Way(
        "Parca, OTLP over gRPC",
        lambda: over_otlp.from_config(Config(otlp=by_grpc)),
        lambda service: parca.flamegraph(OTLP_CPU, service_name=service).total,
    )


def _pyroscope(running: ExitStack, directory: Path, name: str) -> Pyroscope:
    return running.enter_context(pyroscopes.pyroscope(_made(directory / name)))


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _otlp(collector: Collector, protocol: OtlpProtocol) -> Callable[[], Exporter]:
    path = "" if protocol == "grpc" else "/v1development/profiles"
    settings = OtlpSettings(protocol, collector.endpoint(protocol) + path)
    return lambda: over_otlp.from_config(Config(otlp=settings))


def _push(url: str) -> Exporter:
    return pushed.from_config(Config(pyroscope=PyroscopeSettings(url)))


def _in_file(collector: Collector) -> Callable[[str], int]:
    def cpu_ns(_: str) -> int:
        if not collector.written.exists():
            return 0
        return Received(collector.written).sums["samples", "cpu"] * _PERIOD_NS

    return cpu_ns


def _measured(
    way: Way, service: str, options: argparse.Namespace
) -> tuple[list[float], float, int]:
    """Delays in s, CPU time of the lane in ms a flush, and what the backend lacks, in ns."""
    a_flush_ns = options.stacks * _PERIOD_NS
    delays_s: list[float] = []
    with _pipeline(way.build, service, options.stacks) as pipeline:
        clock, begin_s = 0, 0.0
        for number in range(1, _WARM_UP + options.flushes + 1):
            began_s = time.monotonic()
            pipeline.flush(_TIMEOUT_S)
            delay_s = _wait_for(lambda: way.cpu_ns(service), number * a_flush_ns) - began_s
            if number > _WARM_UP:
                delays_s.append(delay_s)
            elif number == _WARM_UP:
                clock = _clock_of_lane()
                begin_s = time.clock_gettime(clock)
        lane_ms = (time.clock_gettime(clock) - begin_s) * 1e3 / options.flushes
        flushes = _WARM_UP + options.flushes
        _wait_for_delivery(pipeline.statistics, 2 * flushes)
    return delays_s, lane_ms, flushes * a_flush_ns - way.cpu_ns(service)


def _outage(pyroscope: Pyroscope, options: argparse.Namespace) -> tuple[float, int]:
    """How long all of so many flushes took from the end of an outage on, in s, and what is lacking, in ns."""
    total_ns = options.flushes * options.stacks * _PERIOD_NS

    def cpu_ns() -> int:
        return pyroscope.flamegraph("outage", CPU).total

    (port,) = free_ports(1)
    with _pipeline(lambda: _push(f"http://127.0.0.1:{port}"), "outage", options.stacks) as pipeline:
        for _ in range(options.flushes):
            pipeline.flush(_TIMEOUT_S)
        with http_receiver(then=forwarded_to(pyroscope.url), port=port):
            began_s = time.monotonic()
            delay_s = _wait_for(cpu_ns, total_ns) - began_s
            _wait_for_delivery(pipeline.statistics, 2 * options.flushes)
    return delay_s, total_ns - cpu_ns()


@contextmanager
def _pipeline(build: Callable[[], Exporter], service: str, stacks: int) -> Iterator[Pipeline]:
    """One that flushes when it is told to."""
    profiles = [profile_of(kind, stacks) for kind in ("cpu", "wall")]
    with tempfile.TemporaryDirectory() as directory:
        pipeline = Pipeline(
            collectors=[Repeating(profiles)],
            exporters={"lane": build},
            take_spans=tuple,
            resource=lambda: (("service.name", service),),
            flush_s=_HOUR_S,
            on_tick=lambda: True,
            limits=Limits(Path(directory), disk_bytes=256 << 20, age_s=_HOUR_S),
        )
        pipeline.start()
        try:
            yield pipeline
        finally:
            profiles.clear()  # it would flush once more
            pipeline.shutdown(_TIMEOUT_S)


def _clock_of_lane() -> int:
    (ident,) = (each.ident for each in threading.enumerate() if each.name == "otelprof-lane")
    return time.pthread_getcpuclockid(ident or 0)


def _wait_for(found: Callable[[], int], wanted: int) -> float:
    """When there was as much, by the monotonic clock in s."""
    deadline_s = time.monotonic() + _TIMEOUT_S
    while (is_now := found()) < wanted:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{is_now} ns of {wanted} are there after {_TIMEOUT_S:g} s")
        time.sleep(_POLL_S)
    return time.monotonic()


def _wait_for_delivery(counts: Callable[[], Mapping[str, int]], profiles: int) -> None:
    deadline_s = time.monotonic() + _TIMEOUT_S
    while counts()["lane.delivered_profiles"] < profiles:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{dict(counts())}")
        time.sleep(_POLL_S)


if __name__ == "__main__":
    main()
