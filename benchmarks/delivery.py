"""What delivery costs: CPU time of the threads that collect and deliver, at one flush per 10 s.

    python -m benchmarks.delivery --flushes 6

A pipeline gets the same profiles, cpu and wall, at every flush, keeps them in a spool and sends them as OTLP over
HTTP to a receiver in another process. CPU time is each thread's own clock, in which the kernel also counts what
it does for it. The first flushes, with all imports, are left out.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import otelprof
from otelprof.builder import ProfileBuilder
from otelprof.delivery.limits import Limits
from otelprof.exporter_settings import OtlpSettings
from otelprof.exporters.otlp_http import OtlpHttpExporter
from otelprof.model import KINDS, Profile
from otelprof.pipeline import Pipeline

LIMIT_SHARE = 0.001  # of a core, at one flush per 10 s
PERIOD_S = 10.0
_WARM_UP = 3
_DEPTH = 30
_RECEIVER = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


class Repeating:
    """Yields the same profiles at every flush."""

    def __init__(self, profiles: list[Profile]) -> None:
        self._profiles = profiles

    def drain(self) -> list[Profile]:
        """All of them."""
        return self._profiles

    def start(self) -> None:
        """As all below: there is nothing to do."""

    stop = pause = resume = after_fork = tick = start

    def set_rate_hz(self, rate_hz: float) -> None:
        """As above."""

    def health(self) -> Mapping[str, int]:
        """No counters."""
        return {}


def main() -> None:
    """Run all sizes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flushes", type=int, default=6)
    parser.add_argument("--every", type=float, default=PERIOD_S, help="seconds between two flushes")
    parser.add_argument("--stacks", default="30,100,300,1000", help="distinct stacks of each kind")
    options = parser.parse_args()
    version = platform.python_version()
    print(f"Python {version}, otelprof {otelprof.__version__}, load {os.getloadavg()[0]:.1f}")
    print("stacks     KiB  worker ms  lane ms  a flush;  of a core")
    for stacks in map(int, options.stacks.split(",")):
        with _receiver() as endpoint, tempfile.TemporaryDirectory() as directory:
            pipeline, counts = _pipeline(stacks, endpoint, Path(directory), options.every)
            worker_ms, lane_ms = _cpu_ms(pipeline, counts, options.flushes)
            size_bytes = counts()["spooled_bytes"] / counts()["otlp.exports"]
            pipeline.shutdown(PERIOD_S)
        share = (worker_ms + lane_ms) / 1e3 / options.every
        mark = "!" if options.every == PERIOD_S and share > LIMIT_SHARE else ""
        print(
            f"{stacks:6d} {size_bytes / 1024:7.1f} {worker_ms:10.2f} {lane_ms:8.2f} {share:19.3%}{mark}"
        )


@contextmanager
def _receiver() -> Iterator[str]:
    """The endpoint of a process that takes everything."""
    command = [sys.executable, "-c", _RECEIVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = int(process.stdout.readline() if process.stdout else "")
            yield f"http://127.0.0.1:{port}/v1development/profiles"
        finally:
            process.terminate()


def _pipeline(
    stacks: int, endpoint: str, directory: Path, every_s: float
) -> tuple[Pipeline, Callable[[], Mapping[str, int]]]:
    settings = OtlpSettings(protocol="http/protobuf", endpoint=endpoint)
    pipeline = Pipeline(
        collectors=[Repeating([profile_of(kind, stacks) for kind in ("cpu", "wall")])],
        exporters={"otlp": lambda: OtlpHttpExporter(settings)},
        take_spans=tuple,
        resource=lambda: (("service.name", "benchmark"),),
        flush_s=every_s,
        on_tick=lambda: True,
        limits=Limits(directory, disk_bytes=256 << 20, age_s=86_400.0),
    )
    pipeline.start()
    return pipeline, pipeline.statistics


def _cpu_ms(
    pipeline: Pipeline, counts: Callable[[], Mapping[str, int]], flushes: int
) -> tuple[float, float]:
    """CPU time of the worker and of the lane, for each of so many flushes of their own."""
    for _ in range(_WARM_UP):
        pipeline.flush(PERIOD_S)
    clocks = [
        time.pthread_getcpuclockid(thread.ident)
        for name in ("otelprof-worker", "otelprof-otlp")
        for thread in threading.enumerate()
        if thread.name == name and thread.ident is not None
    ]
    begin, target = (
        [time.clock_gettime(clock) for clock in clocks],
        counts()["otlp.exports"] + flushes,
    )
    while counts()["otlp.delivered_profiles"] < 2 * target:
        time.sleep(0.05)
    worker_s, lane_s = (
        time.clock_gettime(clock) - began for clock, began in zip(clocks, begin, strict=True)
    )
    return worker_s * 1e3 / flushes, lane_s * 1e3 / flushes


def profile_of(kind: str, stacks: int) -> Profile:
    """A profile with so many stacks, each seen for one period."""
    builder = ProfileBuilder(KINDS[kind])
    for number in range(stacks):
        # The outer half is shared, as in a program: the inner half tells stacks apart.
        outer = [
            builder.frame(
                f"app.framework.call_{depth}", "/srv/app/framework.py", depth + 1, depth + 2
            )
            for depth in range(_DEPTH // 2)
        ]
        inner = [
            builder.frame(
                f"app.part_{number % 97}.step_{depth}",
                f"/srv/app/part_{number % 97}.py",
                10 * depth + 1,
                10 * depth + number // 97 + 2,
            )
            for depth in range(_DEPTH // 2)
        ]
        builder.add(builder.stack([*inner, *outer]), 0, 0, (1, 10_000_000))
    return builder.build(
        kind=kind,
        start_unix_ns=time.time_ns(),
        duration_ns=round(PERIOD_S * 1e9),
        period_type=KINDS[kind][1],
        period=10_000_000,
    )


if __name__ == "__main__":
    main()
