"""One process of `benchmarks.footprint`: prints, as JSON, what it needed up to here or there.

It imports nothing at its top that a service would not have, or what otelprof needs would be there already.

    python -c 'from benchmarks.footprint_process import main; main()' WHAT HOST EXPORTER SECONDS BEGUN_NS
"""

import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threading import Event

    from otelprof import Profiler

_THREADS = 50
_FORKS = 40
_FORK_PAUSE_S = 0.02  # so that a fork meets the sampler at any time of its period
_RESTART_S = 3.0
_NONE = "-"

_Figures = dict[str, float]


def main() -> None:
    """Measure what the command line asks for; exporter `-` for no profiler."""
    what, host, exporter, seconds, begun_ns = sys.argv[1:]
    _become(host)
    if what == "start":
        figures = _start(exporter, int(begun_ns))
    else:
        import threading  # noqa: PLC0415 - the SDK has it; see above

        release = threading.Event()
        for _ in range(_THREADS):
            threading.Thread(target=_at_depth, args=(10, release), daemon=True).start()
        profiler = None if exporter == _NONE else _started(exporter)
        figures = _fork(profiler) if what == "fork" else _memory(profiler, float(seconds))
    import json  # noqa: PLC0415 - see above

    print(json.dumps(figures), flush=True)
    os._exit(0)  # an exporter may still be waiting for somebody


def _become(host: str) -> None:
    """Import the SDK; for a `service`, set it up with an exporter."""
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - its import is measured
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - as above

    if host == "service":
        from opentelemetry import trace  # noqa: PLC0415 - as above
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - as above
            OTLPSpanExporter,
        )

        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)


def _start(exporter: str, begun_ns: int) -> _Figures:
    if exporter == _NONE:
        return _ready(begun_ns)
    at = [time.process_time()]
    from otelprof import Profiler  # noqa: PLC0415 - its import is measured

    at.append(time.process_time())
    profiler = Profiler(exporters=exporter)
    at.append(time.process_time())
    profiler.start()
    at.append(time.process_time())
    figures = _ready(begun_ns)
    _spin(0.3)
    stop_s = _cpu_s_of_stop(profiler)
    begin_s = time.process_time()
    profiler.start()
    again_s = time.process_time() - begin_s
    _spin(0.3)
    again_s += _cpu_s_of_stop(profiler)
    return figures | {
        "import_cpu_ms": 1e3 * (at[1] - at[0]),
        "build_cpu_ms": 1e3 * (at[2] - at[1]),
        "start_cpu_ms": 1e3 * (at[3] - at[2]),
        "stop_cpu_ms": 1e3 * stop_s,
        "start_stop_cpu_ms": 1e3 * (at[3] - at[1] + stop_s),
        "again_cpu_ms": 1e3 * again_s,
    }


def _ready(begun_ns: int) -> _Figures:
    """Since the process was asked for, and since it began."""
    return {
        "ready_wall_ms": (time.monotonic_ns() - begun_ns) / 1e6,
        "ready_cpu_ms": 1e3 * time.process_time(),
    }


def _started(exporter: str) -> "Profiler":
    from otelprof import Profiler  # noqa: PLC0415 - only where it runs

    profiler = Profiler(exporters=exporter)
    profiler.start()
    return profiler


def _cpu_s_of_stop(profiler: "Profiler") -> float:
    begin_s = time.process_time()
    profiler.stop()
    return time.process_time() - begin_s


def _memory(profiler: "Profiler | None", seconds: float) -> _Figures:
    figures = {"started_mb": _memory_mb("Rss")}
    for sampled, flushed in (("sampled_mb", "flushed_mb"), ("sampled_again_mb", "again_mb")):
        _spin(seconds)
        figures[sampled] = _memory_mb("Rss")
        if profiler is not None:
            profiler.flush(2.0)
        figures[flushed] = _memory_mb("Rss")
    figures["peak_mb"] = _memory_mb("VmHWM", "/proc/self/status")
    return figures


def _memory_mb(name: str, file: str = "/proc/self/smaps_rollup") -> float:
    with open(file) as lines:  # noqa: PTH123 - pathlib is not there yet, see above
        for line in lines:
            key, _, value = line.partition(":")
            if key == name:
                return int(value.split()[0]) / 1024
    raise RuntimeError(f"{file} has no {name}")


def _fork(profiler: "Profiler | None") -> _Figures:
    import statistics  # noqa: PLC0415 - see above

    reader, writer = os.pipe()
    parent_ms: list[float] = []
    child_ms: list[float] = []
    for _ in range(_FORKS):
        time.sleep(_FORK_PAUSE_S)
        begin_ns = time.monotonic_ns()
        pid = os.fork()
        took_ns = time.monotonic_ns() - begin_ns
        if pid == 0:
            os.write(writer, took_ns.to_bytes(8, "big"))
            os._exit(0)
        os.waitpid(pid, 0)
        parent_ms.append(took_ns / 1e6)
        child_ms.append(int.from_bytes(os.read(reader, 8), "big") / 1e6)
    figures: _Figures = {
        "parent_p50_ms": statistics.median(parent_ms),
        "parent_p95_ms": statistics.quantiles(parent_ms, n=20)[-1],
        "child_p50_ms": statistics.median(child_ms),
        "child_p95_ms": statistics.quantiles(child_ms, n=20)[-1],
    }
    return figures if profiler is None else figures | _restart(profiler)


def _restart(profiler: "Profiler") -> _Figures:
    """How long it takes until a child, left to itself, is sampled; whether its profile leaves."""
    from pathlib import Path  # noqa: PLC0415 - see above

    reader, writer = os.pipe()
    begin_ns = time.monotonic_ns()
    pid = os.fork()
    if pid == 0:
        until_ns = begin_ns + round(_RESTART_S * 1e9)
        while not profiler.health().get("passes") and time.monotonic_ns() < until_ns:
            time.sleep(0.0005)
        took_ns = time.monotonic_ns() - begin_ns
        _spin(0.2)
        profiler.stop()
        os.write(writer, took_ns.to_bytes(8, "big"))
        os._exit(0)
    took_ns = int.from_bytes(os.read(reader, 8), "big")
    os.waitpid(pid, 0)
    files = Path(os.environ["OTELPROF_FILE_DIR"]).glob(f"*-{pid}-*.pb.gz")
    return {"restart_ms": took_ns / 1e6, "child_profiles": len(list(files))}


def _at_depth(depth: int, release: "Event") -> None:
    if depth:
        _at_depth(depth - 1, release)
    else:
        release.wait()


def _spin(seconds: float) -> None:
    """Pure Python with many different stacks, as in a service that does more than one thing."""
    import ast  # noqa: PLC0415 - see above

    with open(ast.__file__) as source:  # noqa: PTH123 - see above
        tree = ast.parse(source.read())
    until_s = time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        for statement in tree.body:
            ast.unparse(statement)
