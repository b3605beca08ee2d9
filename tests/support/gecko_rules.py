"""The rules of the Firefox Profiler's processed format, version 58, for profiles that need no symbols.

Source: firefox-devtools/profiler: the types in src/types/profile.ts and src/types/markers.ts with their comments, and
docs-developer/CHANGELOG-formats.md for what changed up to version 58 (shared.stringArray since 56, shared.sources
since 58; no category in stackTable since 53; marker schemas have `fields` since 55, no `searchable` since 57).
"""

import json
import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

_COLORS = {
    *("transparent", "purple", "green", "orange", "yellow", "lightblue", "blue", "brown"),
    *("magenta", "red", "lightred", "darkgrey", "grey"),
}
_PLACES = {
    *("marker-chart", "marker-table", "timeline-overview", "timeline-memory", "timeline-ipc"),
    *("timeline-fileio", "timeline-network"),
}
_WEIGHT_TYPES = {"samples", "tracing-ms", "bytes"}
_META = {
    "interval": (int, float),
    "startTime": (int, float),
    "processType": int,
    "product": str,
    "stackwalk": int,
    "version": int,
    "preprocessedProfileVersion": int,
    "markerSchema": list,
    "categories": list,
}
_THREAD: dict[str, Any] = {
    "processType": str,
    "processStartupTime": (int, float),
    "processShutdownTime": (int, float, type(None)),
    "registerTime": (int, float),
    "unregisterTime": (int, float, type(None)),
    "pausedRanges": list,
    "name": str,
    "isMainThread": bool,
    "pid": str,
    "tid": (int, str),
}


class _Optional(NamedTuple):
    """A row of a table, or `none`."""

    table: str
    none: int | None = None


# Every column of every table: what its items are. The name of a table is an index into that.
_TABLES: dict[str, dict[str, Any]] = {
    "samples": {"stack": _Optional("stackTable"), "time": float, "weight": (int, float)},
    "markers": {
        "data": dict,
        "name": "stringArray",
        "startTime": float,
        "endTime": float,
        "phase": int,
        "category": "categories",
    },
    "stackTable": {"frame": "frameTable", "prefix": _Optional("stackTable")},
    "frameTable": {
        "address": int,
        "inlineDepth": int,
        "category": _Optional("categories"),
        "subcategory": (int, type(None)),
        "func": "funcTable",
        "nativeSymbol": _Optional("nativeSymbols"),
        "innerWindowID": (int, type(None)),
        "line": (int, type(None)),
        "column": (int, type(None)),
    },
    "funcTable": {
        "name": "stringArray",
        "isJS": bool,
        "relevantForJS": bool,
        "resource": _Optional("resourceTable", -1),
        "source": _Optional("sources"),
        "lineNumber": (int, type(None)),
        "columnNumber": (int, type(None)),
    },
    "resourceTable": {"lib": int, "name": "stringArray", "host": int, "type": int},
    "nativeSymbols": {"libIndex": int, "address": int, "name": "stringArray", "functionSize": int},
}


def violations(blob: bytes) -> list[str]:
    """Every rule that the file in `blob` breaks."""
    file = json.loads(blob)
    meta, shared = file["meta"], file["shared"]
    sizes = {
        "stringArray": len(shared["stringArray"]),
        "sources": shared["sources"]["length"],
        "categories": len(meta["categories"]),
    }
    found = [*_typed("meta", meta, _META), *_meta(meta), *_shared(shared)]
    if file["libs"] != []:
        found.append("libs are there, and nothing points to them")
    for number, thread in enumerate(file["threads"]):
        name = f"thread {number}"
        found += _typed(name, thread, _THREAD)
        tables = list(_tables(thread, sizes))
        found += [f"{name}: {problem}" for problem in tables]
        if not tables:
            found += [f"{name}: {problem}" for problem in _thread(thread, meta)]
    return found + list(_threads(file["threads"]))


def _typed(name: str, values: dict[str, Any], types: dict[str, Any]) -> Iterator[str]:
    for key, expected in types.items():
        if not isinstance(values.get(key, ...), expected):
            yield f"{name} has {key} {values.get(key, 'missing')!r}"


def _meta(meta: dict[str, Any]) -> Iterator[str]:
    if meta["preprocessedProfileVersion"] != 58:
        yield f"version {meta['preprocessedProfileVersion']} is not the one that these rules are of"
    if meta["interval"] <= 0:
        yield f"interval {meta['interval']} is not positive"
    yield from _categories(meta["categories"])
    for schema in meta["markerSchema"]:
        if not set(schema["display"]) <= _PLACES:
            yield f"markers {schema['name']} are displayed at {schema['display']}"
        if not all({"key", "format"} <= set(field) for field in schema["fields"]):
            yield f"markers {schema['name']} have a field without key or format"
    for section in meta.get("extra", []):
        if set(section) != {"label", "entries"}:
            yield f"extra information has a section with {sorted(section)}"
        elif any(set(entry) != {"label", "format", "value"} for entry in section["entries"]):
            yield f"extra information {section['label']} has an entry that lacks something"


def _categories(categories: list[dict[str, Any]]) -> Iterator[str]:
    if "grey" not in {category["color"] for category in categories}:
        yield "no category is grey, and so none is the default one"
    for category in categories:
        if category["color"] not in _COLORS:
            yield f"category {category['name']} has the color {category['color']}"
        if category["subcategories"][:1] != ["Other"]:
            yield f"category {category['name']} does not begin with the subcategory Other"


def _shared(shared: dict[str, Any]) -> Iterator[str]:
    strings, sources = shared["stringArray"], shared["sources"]
    if not all(isinstance(text, str) for text in strings):
        yield "stringArray holds something else"
    if len(set(strings)) != len(strings):
        yield "stringArray has a string twice"
    if not sources["length"] == len(sources["uuid"]) == len(sources["filename"]):
        yield "sources have columns of other lengths"
    if not all(0 <= row < len(strings) for row in sources["filename"]):
        yield "a source points outside stringArray"


def _tables(thread: dict[str, Any], shared_sizes: dict[str, int]) -> Iterator[str]:
    sizes = {**shared_sizes, **{name: thread[name]["length"] for name in _TABLES}}
    for name, columns in _TABLES.items():
        table = thread[name]
        extra = {"weightType"} if name == "samples" else set[str]()
        if set(table) != {*columns, "length", *extra}:
            yield f"{name} has {sorted(table)}"
            continue
        for column, expected in columns.items():
            if len(table[column]) != table["length"]:
                yield f"{name}.{column} has {len(table[column])} rows, not {table['length']}"
            for item in table[column]:
                if not _fits(item, expected, sizes):
                    yield f"{name}.{column} holds {item!r}"


def _fits(item: object, expected: Any, sizes: dict[str, int]) -> bool:
    """Whether `item` is of a type, or a row of a table by its name, or what stands for none of its rows."""
    is_number = isinstance(item, int) and not isinstance(item, bool)
    if isinstance(expected, str):
        return is_number and item in range(sizes[expected])
    if isinstance(expected, _Optional):
        return item == expected.none or _fits(item, expected.table, sizes)
    return isinstance(item, expected) or (expected is float and is_number)


def _thread(thread: dict[str, Any], meta: dict[str, Any]) -> Iterator[str]:
    samples, markers, stacks = thread["samples"], thread["markers"], thread["stackTable"]
    if samples["weightType"] not in _WEIGHT_TYPES:
        yield f"weights are of type {samples['weightType']}"
    if not all(map(math.isfinite, [*samples["time"], *samples["weight"]])):
        yield "a time or a weight is not finite"
    if None in samples["stack"][:-1] or (samples["stack"][-1:], samples["weight"][-1:]) != (
        [None],
        [0],
    ):
        yield "the samples do not end, and only there, with one of no stack and no weight"
    if any(later < earlier for earlier, later in pairwise(samples["time"])):
        yield "samples are not in the order of their time"
    # Upgraders and the call tree walk the stacks once, from the first to the last.
    if any(prefix is not None and prefix >= row for row, prefix in enumerate(stacks["prefix"])):
        yield "a stack comes before its prefix"
    nodes = Counter(zip(stacks["prefix"], stacks["frame"], strict=True))
    if any(count > 1 for count in nodes.values()):
        yield "stackTable has a stack twice"
    for row, category in enumerate(thread["frameTable"]["category"]):
        subcategories = meta["categories"][category]["subcategories"]
        if not 0 <= thread["frameTable"]["subcategory"][row] < len(subcategories):
            yield f"frame {row} has a subcategory that its category does not have"
    yield from _markers(markers, meta)


def _markers(markers: dict[str, Any], meta: dict[str, Any]) -> Iterator[str]:
    schemas = {schema["name"]: schema for schema in meta["markerSchema"]}
    for row, payload in enumerate(markers["data"]):
        schema = schemas.get(payload["type"])
        if schema is None:
            yield f"marker {row} is of the type {payload['type']}, which has no schema"
        elif not set(payload) - {"type"} <= {field["key"] for field in schema["fields"]}:
            yield f"marker {row} has fields that its schema lacks"
        if markers["phase"][row] != 1:
            yield f"marker {row} is no interval"
        if not markers["startTime"][row] <= markers["endTime"][row]:
            yield f"marker {row} ends before it starts"


def _threads(threads: list[dict[str, Any]]) -> Iterator[str]:
    if not threads:
        yield "there is no thread, and nothing to show"
    for tid, count in Counter(thread["tid"] for thread in threads).items():
        if count > 1:
            yield f"{count} threads have the id {tid}"
    for pid in {thread["pid"] for thread in threads}:
        mains = [thread for thread in threads if thread["pid"] == pid and thread["isMainThread"]]
        if len(mains) != 1:
            yield f"process {pid!r} has {len(mains)} main threads"
