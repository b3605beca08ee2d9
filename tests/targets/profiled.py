"""Uses `otelprof.Profiler` in one of the ways below; the arguments are the way and where files go."""

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

import otelprof
from tests.targets.burning import burn, tell

RATE_HZ = 200.0
ENDING_S = 10.0


def set_provider() -> None:
    trace.set_tracer_provider(TracerProvider(resource=Resource({"service.name": "target"})))


def burn_checkout() -> None:
    burn()


def burn_paused() -> None:
    burn()


def burn_later() -> None:
    burn()


def in_span(name: str, work: Callable[[], None]) -> None:
    with trace.get_tracer("target").start_as_current_span(name):
        work()


def wait_for_samples(profiler: otelprof.Profiler) -> None:
    """The first come after the sampler has learned its way about."""
    before = profiler.health()["passes"]
    while profiler.health()["passes"] == before:
        time.sleep(0.001)


def our_threads() -> list[str]:
    """Without those that learn at the start what the interpreter's lock looks like, and end."""
    names = (thread.name for thread in threading.enumerate())
    return sorted(
        n
        for n in names
        if n.startswith("otelprof-") and n not in {"otelprof-gil-probe", "otelprof-learner"}
    )


def threads_left() -> list[str]:
    """Those that do not end: a stop waits until they have done their work, and they end just after that."""
    deadline = time.monotonic() + ENDING_S
    while (left := our_threads()) and time.monotonic() < deadline:
        time.sleep(0.001)
    return left


def context(output: str) -> None:
    set_provider()
    with otelprof.Profiler(output=output, rate_hz=RATE_HZ) as profiler:
        wait_for_samples(profiler)
        in_span("checkout", burn_checkout)
        running = our_threads()
    tell(running=running, stopped=threads_left(), health=dict(profiler.health()))


def twice(output: str) -> None:
    profiler = otelprof.Profiler(output=output)
    profiler.start()
    once = our_threads()
    profiler.start()
    again = our_threads()
    burn()
    results = [profiler.stop(), profiler.stop()]
    tell(once=once, again=again, stopped=threads_left(), results=results)


def nested(first: str, second: str, order: str) -> None:
    set_provider()
    outer = otelprof.Profiler(output=first, rate_hz=RATE_HZ)
    inner = otelprof.Profiler(output=second, rate_hz=RATE_HZ)
    outer.start()
    inner.start()
    wait_for_samples(outer)
    wait_for_samples(inner)
    in_span("checkout", burn_checkout)
    stopped, left = (inner, outer) if order == "inner first" else (outer, inner)
    stopped.stop()
    in_span("later", burn_later)
    left.stop()
    tell(stopped=threads_left())


def paused(output: str) -> None:
    set_provider()
    with otelprof.Profiler(output=output, rate_hz=RATE_HZ) as profiler:
        wait_for_samples(profiler)
        in_span("checkout", burn_checkout)
        profiler.pause()
        in_span("paused", burn_paused)
        profiler.resume()
        in_span("later", burn_later)


def paused_fork(output: str) -> None:
    set_provider()
    with otelprof.Profiler(output=output, rate_hz=RATE_HZ) as profiler:
        wait_for_samples(profiler)
        profiler.pause()
        pid = os.fork()
        if not pid:
            burn_paused()
            profiler.resume()
            wait_for_samples(profiler)
            burn_later()
            profiler.stop()
            os._exit(0)
        os.waitpid(pid, 0)
    tell(child=pid)


def stopping(output: str) -> None:
    profiler = otelprof.Profiler(output=output)
    profiler.start()
    burn()
    began = time.monotonic()
    result = profiler.stop()
    tell(elapsed_s=time.monotonic() - began, result=result)


def elsewhere(output: str) -> None:
    with otelprof.Profiler(output=output):
        burn()
        Path("elsewhere").mkdir()
        os.chdir("elsewhere")


def again(output: str) -> None:
    set_provider()
    profiler = otelprof.Profiler(output=output, rate_hz=RATE_HZ, flush_s=0.1)
    profiler.start()
    wait_for_samples(profiler)
    in_span("checkout", burn_checkout)
    first = profiler.stop()
    profiler.start()
    wait_for_samples(profiler)
    for _ in range(5):
        in_span("later", burn_later)
    tell(results=[first, profiler.stop()])


def late(output: str) -> None:
    with otelprof.Profiler(output=output, rate_hz=RATE_HZ) as profiler:
        set_provider()
        wait_for_samples(profiler)
        profiler.flush()  # looks for a provider, as every tick does
        in_span("checkout", burn_checkout)


def brief(output: str) -> None:
    otelprof.Profiler(output=output).start()


def unstopped(output: str) -> None:
    profiler = otelprof.Profiler(output=output)
    profiler.start()
    wait_for_samples(profiler)
    burn_later()


def unstopped_with_provider(output: str) -> None:
    set_provider()
    profiler = otelprof.Profiler(output=output)
    profiler.start()
    wait_for_samples(profiler)
    in_span("checkout", burn_checkout)


def directory(into: str) -> None:
    set_provider()
    with otelprof.Profiler(exporters="file", file_dir=into, flush_s=3600) as profiler:
        wait_for_samples(profiler)
        in_span("checkout", burn_checkout)
        profiler.flush()
        burn_later()


def rates(into: str) -> None:
    with otelprof.Profiler(exporters="file", file_dir=into, flush_s=3600, rate_hz=20) as profiler:
        wait_for_samples(profiler)
        burn_checkout()
        profiler.flush()
        burn_checkout()
        profiler.set_rate_hz(200)
        wait_for_samples(profiler)
        profiler.flush()
        profiler.set_rate_hz(50)
        pid = os.fork()
        if not pid:
            wait_for_samples(profiler)
            burn_later()
            profiler.stop()
            os._exit(0)
        os.waitpid(pid, 0)
        tell(child=pid, rate_hz=profiler.config.rate_hz)


def module(output: str) -> None:
    set_provider()
    profiler = otelprof.start(output=output)
    same = otelprof.start() is profiler is otelprof.start(rate_hz=50)
    wait_for_samples(profiler)
    in_span("checkout", burn_checkout)
    results = [otelprof.stop(), otelprof.stop()]
    burn_later()
    tell(same=same, results=results, stopped=threads_left())


def disabled(output: str) -> None:
    with otelprof.Profiler(output=output, enabled=False) as profiler:
        burn()
        tell(running=our_threads(), flushed=profiler.flush())


WAYS: tuple[Callable[..., None], ...] = (
    context,
    twice,
    nested,
    paused,
    paused_fork,
    stopping,
    elsewhere,
    again,
    late,
    brief,
    unstopped,
    unstopped_with_provider,
    directory,
    rates,
    module,
    disabled,
)

if __name__ == "__main__":
    {way.__name__: way for way in WAYS}[sys.argv[1]](*sys.argv[2:])
