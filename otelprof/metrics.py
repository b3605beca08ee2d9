"""The pipeline's own metrics through OpenTelemetry: observed when a reader asks, from numbers that are there already.

Instruments are made once a process, of the API's: those of a MeterProvider if there is one, and else they become
its own when the application sets one. Readers' threads only copy counters; nothing here waits for a lock.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from otelprof.clock import NS_PER_S
from otelprof.version import __version__

_DROPPED = "dropped_{}."


class Source(Protocol):
    """What is observed: `pipeline.Pipeline`, `pull.server.PullServer`. Both are called from any thread and return at once."""

    def statistics(self) -> Mapping[str, int]:
        """Counters by name."""
        ...

    def ledgers(self) -> Mapping[str, Mapping[str, int]]:
        """Accounts by exporter."""
        ...


class _Metric(NamedTuple):
    """An instrument, and the counter that it shows."""

    name: str
    unit: str
    counter: str
    description: str


# Of each exporter, for "profiles" and for "samples".
_STATES = {
    "collected": "collected by this process",
    "adopted": "left in the spool by dead processes and taken over",
    "delivered": "taken by the receiver",
    "refused": "refused by the receiver for good",
    "retried": "put off by the receiver, each time",
    "left": "on the disk when the pipeline ended, for the next one",
}
_OF_EXPORTERS = (
    _Metric("otelprof.exports", "{export}", "exports", "Attempts to deliver a batch"),
    _Metric("otelprof.export.time", "s", "export_ns", "Time that exporters took"),
    _Metric("otelprof.delivered.size", "By", "delivered_bytes", "Bytes that receivers took"),
    _Metric("otelprof.export.retries", "{export}", "retries", "Attempts to be made again"),
)
_OF_PIPELINES = (
    _Metric("otelprof.encoded.size", "By", "encoded_bytes", "Bytes encoded to be kept"),
    _Metric("otelprof.encoded.time", "s", "encode_ns", "Time that encoding took"),
    _Metric("otelprof.spool.written.size", "By", "spooled_bytes", "Bytes written to the spool"),
    _Metric("otelprof.spool.written.time", "s", "spool_ns", "Time that writing to the spool took"),
    _Metric("otelprof.spool.corrupt", "{batch}", "corrupt_batches", "Files that nobody could read"),
    _Metric(
        "otelprof.spool.expired", "{profile}", "expired_profiles", "Profiles that nobody took over"
    ),
)
_OF_PULLS = (
    _Metric("otelprof.pull.served", "{request}", "pull.served", "Requests that were answered"),
    _Metric("otelprof.pull.refused", "{request}", "pull.refused", "Requests that were refused"),
    _Metric(
        "otelprof.pull.unanswered",
        "{connection}",
        "pull.unanswered",
        "Connections that ended without an answer",
    ),
)
# Of a pipeline, for "profiles" and for "samples".
_STEPS = {"encoded": "made ready to be kept", "spooled": "written to the spool"}
_GAUGES = (
    _Metric("otelprof.spool.size", "By", "spool_bytes", "What this process has in the spool"),
    _Metric("otelprof.memory.size", "By", "memory_bytes", "What waits in memory, encoded"),
)

# Replaced as a whole, never changed: a fork may come while a reader looks.
_sources: tuple["weakref.ref[Source]", ...] = ()
_instruments: list[object] = []


def observe(source: Source) -> None:
    """Show the counters of `source`, as long as it lives, beside those of others."""
    global _sources  # noqa: PLW0603 - one set of instruments a process
    alive = tuple(ref for ref in _sources if ref() not in {None, source})
    _sources = (*alive, weakref.ref(source))
    if not _instruments:
        _instruments.extend(_made(metrics.get_meter("otelprof", __version__)))


def _made(meter: metrics.Meter) -> Iterable[object]:
    def counter(metric: _Metric, observed: Callable[[_Metric], Iterable[Observation]]) -> object:
        return meter.create_observable_counter(
            metric.name, [_callback(metric, observed)], metric.unit, metric.description
        )

    for what in ("profiles", "samples"):
        unit = f"{{{what.removesuffix('s')}}}"
        for state, text in _STATES.items():
            metric = _Metric(f"otelprof.{what}.{state}", unit, f"{state}_{what}", text)
            yield counter(metric, _by_exporter)
        for step, text in _STEPS.items():
            metric = _Metric(f"otelprof.{what}.{step}", unit, f"{step}_{what}", text)
            yield counter(metric, _of_all)
        name = f"otelprof.{what}.dropped"
        dropped = _Metric(name, unit, _DROPPED.format(what), "given up, by reason")
        yield counter(dropped, _by_reason)
        waiting = _Metric(f"otelprof.{what}.waiting", unit, f"waiting_{what}", "not delivered yet")
        yield meter.create_observable_up_down_counter(
            waiting.name, [_callback(waiting, _by_exporter)], unit, waiting.description
        )
    for metric in _OF_EXPORTERS:
        yield counter(metric, _by_exporter)
    for metric in (*_OF_PIPELINES, *_OF_PULLS):
        yield counter(metric, _of_all)
    for metric in _GAUGES:
        yield meter.create_observable_up_down_counter(
            metric.name, [_callback(metric, _of_all)], metric.unit, metric.description
        )


def _callback(
    metric: _Metric, observed: Callable[[_Metric], Iterable[Observation]]
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _: observed(metric)


def _alive() -> list[Source]:
    return [source for ref in _sources if (source := ref()) is not None]


def _by_exporter(metric: _Metric) -> Iterable[Observation]:
    sums: dict[str, int] = {}
    for source in _alive():
        for exporter, counts in source.ledgers().items():
            sums[exporter] = sums.get(exporter, 0) + counts.get(metric.counter, 0)
    for exporter, count in sums.items():
        yield Observation(_in_unit(metric, count), {"exporter": exporter})


def _by_reason(metric: _Metric) -> Iterable[Observation]:
    sums: dict[tuple[str, str], int] = {}
    for source in _alive():
        for exporter, counts in source.ledgers().items():
            for name, count in counts.items():
                if name.startswith(metric.counter):
                    key = exporter, name.removeprefix(metric.counter)
                    sums[key] = sums.get(key, 0) + count
    for (exporter, reason), count in sums.items():
        yield Observation(count, {"exporter": exporter, "reason": reason})


def _of_all(metric: _Metric) -> Iterable[Observation]:
    count = sum(source.statistics().get(metric.counter, 0) for source in _alive())
    yield Observation(_in_unit(metric, count))


def _in_unit(metric: _Metric, count: int) -> float:
    return count / NS_PER_S if metric.unit == "s" else count
