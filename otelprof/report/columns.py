"""What the page reads: all profiles in one tree of frames, samples and spans as columns of numbers.

    {"format":"otelprof.report","version":1,"title":…,"start_unix_ms":…,"duration_ns":…,
     "strings":[…],"functions":{"name":[…],"file":[…],"line":[…]},"frames":{"function":[…],"line":[…]},
     "nodes":{"parent":[…],"frame":[…]},"threads":[…],
     "kinds":[{"name":"wall","unit":"nanoseconds","period":…,"is_counted":true,
               "node":[…],"span":[…],"thread":[…],"weight":[…],"count":[…]}],
     "spans":{"trace":[…],"id":[…],"parent":[…],"root":[…],"name":[…],…},
     "facts":[["service.name","shop"],…],"losses":[["cpu","span_unknown",4],…]}

Names, files and ids are rows of `strings`. Node 0 is the root of all stacks, and a parent stands before its children.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from otelprof.formats.text import encodable
from otelprof.model import (
    COUNT,
    KINDS,
    NANOSECONDS,
    UNKNOWN_SPAN_LABEL,
    AttributeValue,
    Profile,
    SpanRecord,
    ValueType,
)
from otelprof.report.rows import Rows, columns
from otelprof.report.span_rows import NO_SPAN, UNKNOWN_SPAN, SpanRows

FORMAT = "otelprof.report"
VERSION = 1

_NS_PER_MS = 1_000_000
_SERVICE = "service.name"
_THREAD_LABEL = "thread_name"


def columns_of(profiles: Sequence[Profile], spans: Iterable[SpanRecord]) -> dict[str, Any]:
    """`profiles`, added up by kind, and `spans`, as the page reads them."""
    strings: Rows[str] = Rows("")
    span_rows = SpanRows(spans)
    stacks = _Stacks(strings)
    threads: Rows[str] = Rows("")
    kinds: dict[str, _Kind] = {}
    for profile in profiles:
        weight = profile.value_types[-1]
        names = (profile.kind, f"{profile.kind}/{weight.type}", f"{profile.kind}/{weight}")
        for name in names:  # one kind in two units, as only files of others have it, is two
            kind = kinds.setdefault(name, _Kind(profile, weight))
            if kind.weight == weight:
                kind.add(profile, stacks, span_rows, threads)
                break
    return {
        "format": FORMAT,
        "version": VERSION,
        "title": _title(profiles),
        "start_unix_ms": min((p.start_unix_ns for p in profiles), default=0) / _NS_PER_MS,
        "duration_ns": _duration_ns(profiles),
        "kinds": [kind.columns(name) for name, kind in kinds.items()],
        "spans": span_rows.columns(strings),
        **stacks.columns(),
        "threads": [encodable(name) for name in threads.rows],
        "facts": list(_facts(profiles)),
        "losses": _losses(profiles),
        "strings": [encodable(text) for text in strings.rows],  # last: all of the above intern
    }


class _Stacks:
    """Stacks of all profiles as one tree, from the root on, of functions and lines in them."""

    def __init__(self, strings: Rows[str]) -> None:
        self._strings = strings
        self._functions: Rows[tuple[int, int, int]] = Rows((0, 0, 0))
        self._frames: Rows[tuple[int, int]] = Rows((0, 0))
        self._nodes: Rows[tuple[int, int]] = Rows((0, 0))

    def nodes_of(self, profile: Profile) -> list[int]:
        """The node of the leaf of each row of `profile.tables.stacks`."""
        tables = profile.tables
        string = self._strings.add
        functions = [
            self._functions.add((string(tables.strings[name]), string(tables.strings[file]), line))
            for name, file, line in tables.functions
        ]
        frames = [self._frames.add((functions[f.function], f.line)) for f in tables.frames]
        nodes: list[int] = []
        for stack in tables.stacks:
            node = 0
            for frame in reversed(stack):
                node = self._nodes.add((node, frames[frame]))
            nodes.append(node)
        return nodes

    def columns(self) -> dict[str, Any]:
        """The tree and what its nodes stand for."""
        return {
            "functions": columns(self._functions.rows, "name", "file", "line"),
            "frames": columns(self._frames.rows, "function", "line"),
            "nodes": columns(self._nodes.rows, "parent", "frame"),
        }


class _Kind:
    """Samples of one kind, in one unit, of all profiles that have it.

    Attributes:
        weight: what the samples weigh.
    """

    def __init__(self, first: Profile, weight: ValueType) -> None:
        self.weight = weight
        self._period = first.period if first.period_type.unit == weight.unit else 0
        # A count of samples. CPU's is time in periods, which says the same of how sure a share is.
        self._counted = KINDS.get(first.kind, (ValueType("samples", COUNT),))[0]
        self._is_counted = True
        self._samples: dict[tuple[int, int, int], list[int]] = {}

    def add(self, profile: Profile, stacks: _Stacks, spans: SpanRows, threads: Rows[str]) -> None:
        """Add the samples of `profile`."""
        tables = profile.tables
        nodes = stacks.nodes_of(profile)
        labels = [tables.labels_of(row) for row in range(len(tables.label_sets))]
        thread_rows = [threads.add(of.get(_THREAD_LABEL, "")) for of in labels]
        key, unknown = UNKNOWN_SPAN_LABEL
        is_unknown = [of.get(key) == unknown for of in labels]
        links = [spans.row_of(link) if row else NO_SPAN for row, link in enumerate(tables.links)]
        weights = profile.values[-1]
        has_counts = self._counted in profile.value_types and self._counted != self.weight
        self._is_counted &= has_counts
        counts = profile.values[profile.value_types.index(self._counted)] if has_counts else weights
        for number, stack in enumerate(profile.stack):
            label = profile.labels[number]
            span = UNKNOWN_SPAN if is_unknown[label] else links[profile.link[number]]
            values = self._samples.setdefault((nodes[stack], span, thread_rows[label]), [0, 0])
            values[0] += weights[number]
            values[1] += counts[number]

    def columns(self, name: str) -> dict[str, Any]:
        """The samples, without those that weigh nothing."""
        kept = [(*key, *values) for key, values in self._samples.items() if values[0]]
        nodes, spans, threads, weights, counts = zip(*kept, strict=True) if kept else ((),) * 5
        return {
            "name": encodable(name),
            "type": encodable(self.weight.type),
            "unit": encodable(self.weight.unit),
            "period": self._period,
            "is_counted": self._is_counted,
            "node": nodes,
            "span": spans,
            "thread": threads,
            "weight": weights,
            "count": counts if self._is_counted else (),
        }


def _title(profiles: Sequence[Profile]) -> str:
    names = dict.fromkeys(str(v) for p in profiles for k, v in p.resource if k == _SERVICE)
    return encodable(", ".join(names))


def _duration_ns(profiles: Sequence[Profile]) -> int:
    begin = min((p.start_unix_ns for p in profiles), default=0)
    return max((p.start_unix_ns + p.duration_ns for p in profiles), default=0) - begin


def _facts(profiles: Sequence[Profile]) -> Iterator[tuple[str, str]]:
    """What is said of the profiles as a whole: who took them, how often, in which processes."""
    facts: dict[str, dict[str, None]] = {}
    for profile in profiles:
        producer = profile.producer
        sampler = f"{producer.sampler} ({producer.reason})" if producer.reason else producer.sampler
        said: list[tuple[str, AttributeValue]] = [
            ("otelprof", producer.version),
            ("sampler", sampler),
            ("sampling", _rate(profile)),
            *profile.resource,
        ]
        for key, value in said:
            if text := _text(value):
                facts.setdefault(encodable(key), {})[encodable(text)] = None
    return ((key, ", ".join(values)) for key, values in facts.items())


def _rate(profile: Profile) -> str:
    if profile.period_type.unit != NANOSECONDS:
        return ""
    return f"{profile.kind}: every {profile.period / _NS_PER_MS:g} ms"


def _text(value: AttributeValue) -> str:
    if isinstance(value, tuple):
        return " ".join(value)
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    return str(value)


def _losses(profiles: Sequence[Profile]) -> list[tuple[str, str, int]]:
    losses: dict[tuple[str, str], int] = {}
    for profile in profiles:
        for reason, count in profile.losses:
            if count:
                key = (encodable(profile.kind), encodable(reason))
                losses[key] = losses.get(key, 0) + count
    return [(*key, count) for key, count in losses.items()]
