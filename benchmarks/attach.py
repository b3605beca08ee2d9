"""What making a context current costs: OpenTelemetry's own runtime context and ours, in turns.

    python -m benchmarks.attach --rounds 201

Both run in one process, in rounds of changing order, over the same contexts; the figures are the CPU time
of the thread for one attach and detach (or what the row says), medians over the rounds, and the median of
each round's ratio. Below 1 ours is cheaper. Machines are shared and noisy: read the ratios, and the load.
"""

import argparse
import contextvars
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Tracer, set_span_in_context
from opentelemetry.trace.propagation import _SPAN_KEY

from otelprof import _core

# So many contexts stay in the cache, as one just made for a span would be.
_CONTEXTS = 32
_OURS = "ours"
_STOCK = "stock"
_Runtime = ContextVarsRuntimeContext | _core.RuntimeContext


@dataclass(frozen=True, slots=True)
class _Case:
    """What is attached, in turn, where `base` is current."""

    name: str
    base: Context
    contexts: tuple[Context, ...]
    loop: Callable[[_Runtime, Sequence[Context], int], None]


def main() -> None:
    """Run all cases and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=201)
    parser.add_argument("--calls", type=int, default=3_200, help="in one round, of each")
    options = parser.parse_args()
    _core.set_labels(enabled=True, span_key=_SPAN_KEY)
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} CPUs, "
        f"load {os.getloadavg()[0]:.2f}, {options.rounds} rounds of {options.calls}",
    )
    print(f"{'case':34}{'stock':>10}{'ours':>10}{'ratio':>8}{'[quartiles]':>16}")
    for case in _cases():
        _compare(case, options.rounds, options.calls)


def _cases() -> tuple[_Case, ...]:
    sdk = TracerProvider(shutdown_on_exit=False).get_tracer("benchmark")
    off = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("benchmark")
    plain = Context({"key": "value"})
    root = set_span_in_context(sdk.start_span("root"), plain)
    dropped = set_span_in_context(off.start_span("root"), plain)
    with_more = tuple(otel_context.set_value("n", n, root) for n in range(_CONTEXTS))
    children = _children(sdk, root)
    return (
        _Case("no span", plain, (Context(plain),), _attach),
        _Case("no span, new contexts", plain, _plain(), _attach),
        _Case("same context again", root, (root,), _attach),
        _Case("same span, new contexts", root, with_more, _attach),
        _Case("first span of a request", plain, _children(sdk, plain), _attach),
        _Case("child spans", root, children, _attach),
        _Case("child spans, unsampled", dropped, _children(off, dropped), _attach),
        _Case("child spans, through the API", root, children, _attach_by_api),
        _Case("trace.use_span, child spans", root, children, _use_span),
        _Case("get_current, no span", plain, (plain,), _get_current),
        _Case("get_current, in a span", root, (root,), _get_current),
    )


def _plain() -> tuple[Context, ...]:
    return tuple(Context({"key": n}) for n in range(_CONTEXTS))


def _children(tracer: Tracer, parent: Context) -> tuple[Context, ...]:
    spans = (tracer.start_span("child", context=parent) for _ in range(_CONTEXTS))
    return tuple(set_span_in_context(span, parent) for span in spans)


def _attach(runtime: _Runtime, contexts: Sequence[Context], times: int) -> None:
    for _ in range(times):
        for context in contexts:
            token = runtime.attach(context)
            runtime.detach(token)


def _attach_by_api(runtime: _Runtime, contexts: Sequence[Context], times: int) -> None:
    names = {**vars(otel_context), "_RUNTIME_CONTEXT": runtime}
    attach = _own(otel_context.attach, names)
    detach = _own(otel_context.detach, names)
    for _ in range(times):
        for context in contexts:
            token = attach(context)
            detach(token)


def _use_span(runtime: _Runtime, contexts: Sequence[Context], times: int) -> None:
    otel_context._RUNTIME_CONTEXT = runtime  # type: ignore[assignment]  # noqa: SLF001 - looked up at each call
    use_span = trace.use_span
    spans = [trace.get_current_span(context) for context in contexts]
    for _ in range(times):
        for span in spans:
            with use_span(span):
                pass


def _get_current(runtime: _Runtime, contexts: Sequence[Context], times: int) -> None:
    for _ in range(times):
        for _ in contexts:
            runtime.get_current()


def _compare(case: _Case, rounds: int, calls: int) -> None:
    runtimes: dict[str, _Runtime] = {
        _STOCK: ContextVarsRuntimeContext(),
        _OURS: _core.RuntimeContext(),
    }
    loops = {name: _own(case.loop, globals()) for name in runtimes}
    times = max(1, calls // len(case.contexts))
    spent: dict[str, list[float]] = {_STOCK: [], _OURS: []}
    gc.collect()
    for number in range(rounds):
        ballast = _ballast(number)
        for name in ((_STOCK, _OURS), (_OURS, _STOCK))[number % 2]:
            # A context of its own: the time of a `set` depends on which other variables have a value.
            fresh = contextvars.Context()
            fresh.run(runtimes[name].attach, case.base)
            began_ns = time.thread_time_ns()
            fresh.run(loops[name], runtimes[name], case.contexts, times)
            spent[name].append((time.thread_time_ns() - began_ns) / (times * len(case.contexts)))
        del ballast
    ratios = [ours / stock for ours, stock in zip(spent[_OURS], spent[_STOCK], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"{case.name:34}{statistics.median(spent[_STOCK]):>7.0f} ns{statistics.median(spent[_OURS]):>7.0f} ns"
        f"{middle:>8.2f}{f'[{low:.2f}..{high:.2f}]':>16}",
    )


def _ballast(number: int) -> list[bytes]:
    """Objects of all small sizes, as many as it takes to start each round with other gaps in the heap.

    Else one of the two may empty and refill a whole pool at each call, all rounds long.
    """
    return [bytes(size) for size in range(0, 256, 16) for _ in range(number * 37 % 101)]


def _own(function: Callable[..., Any], names: dict[str, Any]) -> Callable[..., Any]:
    """A copy of the function: code adapts to what it is called with, so each runtime has its own."""
    return FunctionType(function.__code__.replace(), names)


if __name__ == "__main__":
    main()
