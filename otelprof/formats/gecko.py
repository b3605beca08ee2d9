"""The Firefox Profiler's "processed" format, which profiler.firefox.com loads; other tools call it gecko.

    meta, shared   what the file is about; strings and source files of all threads
    threads        one for each kind and thread name: each kind is a "process" of its own
      samples      a stack and its weight; those of a span lie together
      markers      one above the samples of each span: its name, its ids, other labels

A profile has sums, and the format wants a time for each sample. So the samples of a thread lie one after the other, each as
long as its weight: the axis says how much, not when. Whoever zooms to a span's marker sees that span's samples.

A sample has one value, the kind's weight; counts have no place. Samples that weigh nothing are left out.

Source: firefox-devtools/profiler, src/types/profile.ts, src/types/markers.ts and docs-developer/CHANGELOG-formats.md at
version 58 of the format. Newer profilers upgrade it when they load it.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from otelprof.formats.canonical import canonical
from otelprof.formats.gecko_thread import CATEGORIES, MARKER_SCHEMA, Shared, thread
from otelprof.formats.text import encodable
from otelprof.formats.values import Value, added_up, values_of
from otelprof.model import NANOSECONDS, Profile, SpanRecord

VERSION = 58
_GECKO_VERSION = 31  # of the format that Firefox itself writes, at the time of 58
_NS_PER_MS = 1e6
_MAIN_THREAD = "MainThread"  # as `threading` names it
_NO_THREAD = "(thread unknown)"


def encode(profiles: Sequence[Profile], spans: Iterable[SpanRecord] = ()) -> bytes:
    """One file with the weights of all `profiles`. Equal meaning gives equal bytes.

    Args:
        profiles: valid ones; those of a kind are added up.
        spans: name the markers of their samples.

    Raises:
        FormatError: there is no profile.
    """
    parts = [canonical(profile) for profile in added_up("gecko", profiles)]
    shared = Shared({(span.trace_id, span.span_id): encodable(span.name) for span in spans})
    threads: list[dict[str, Any]] = []
    for value in values_of(parts):
        if value.name == value.profile.kind:
            threads.extend(_threads(value, shared, len(threads)))
    file = {
        "meta": _meta(parts),
        "libs": [],
        "shared": shared.tables(),
        "threads": threads,
    }
    return json.dumps(file, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _threads(value: Value, shared: Shared, before: int) -> Iterator[dict[str, Any]]:
    """The threads of one kind, the main thread first; an empty one if there are no samples."""
    profile = value.profile
    resource = dict(profile.resource)
    kind = encodable(profile.kind)
    process = f"{resource.get('process.pid', '')} {kind}".lstrip()
    service = encodable(str(resource.get("service.name") or "python"))
    for number, (name, rows) in enumerate(_rows_by_thread(value)):
        yield {
            "processType": "default",
            "processName": f"{service} {kind}",
            "processStartupTime": 0,
            "processShutdownTime": None,
            "registerTime": 0,
            "unregisterTime": None,
            "pausedRanges": [],
            "showMarkersInTimeline": True,
            "name": name,
            "isMainThread": number == 0,  # the one that stands for its process
            "pid": process,
            "tid": before + number + 1,
            **thread(value, rows, shared),
        }


def _rows_by_thread(value: Value) -> list[tuple[str, list[int]]]:
    profile = value.profile
    labels = [profile.tables.labels_of(row) for row in range(len(profile.tables.label_sets))]
    rows: dict[str, list[int]] = {}
    for row, number in enumerate(value.numbers):
        if number:
            name = labels[profile.labels[row]].get("thread_name", _NO_THREAD)
            rows.setdefault(name, []).append(row)
    return sorted(rows.items(), key=lambda item: (item[0] != _MAIN_THREAD, item[0])) or [
        (_NO_THREAD, [])
    ]


def _meta(parts: Sequence[Profile]) -> dict[str, Any]:
    first = parts[0]
    start_unix_ns = min(part.start_unix_ns for part in parts)
    return {
        "preprocessedProfileVersion": VERSION,
        "version": _GECKO_VERSION,
        "product": encodable(str(dict(first.resource).get("service.name") or "otelprof")),
        "importedFrom": f"otelprof {encodable(first.producer.version)}".rstrip(),
        "startTime": start_unix_ns / _NS_PER_MS,
        "interval": first.period / _NS_PER_MS if first.period_type.unit == NANOSECONDS else 1,
        "processType": 0,
        "stackwalk": 1,
        "debug": False,
        "symbolicated": True,
        "symbolicationNotSupported": True,
        "usesOnlyOneStackType": True,
        "sourceCodeIsNotOnSearchfox": True,
        "keepProfileThreadOrder": True,
        "sampleUnits": {"time": "ms", "eventDelay": "ms", "threadCPUDelta": "ns"},
        "categories": CATEGORIES,
        "markerSchema": MARKER_SCHEMA,
        "extra": list(_extra(parts)),
    }


def _extra(parts: Sequence[Profile]) -> Iterator[dict[str, Any]]:
    """What the profiler lists about the profile as a whole."""
    first = parts[0]
    yield _section("Resource", first.resource)
    yield _section("Producer", first.producer._asdict().items())
    for part in parts:
        yield _section(f"Losses of {part.kind}", part.losses)


def _section(label: str, items: Iterable[tuple[str, object]]) -> dict[str, Any]:
    return {
        "label": encodable(label),
        "entries": [
            {"label": encodable(key), "format": "string", "value": encodable(str(value))}
            for key, value in items
        ],
    }
