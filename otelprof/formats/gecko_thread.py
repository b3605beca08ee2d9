"""One thread of the Firefox Profiler's format: its samples, the tables that they point into, and its markers."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from otelprof.formats.text import name_shown
from otelprof.formats.values import Value
from otelprof.model import NANOSECONDS, UNKNOWN_SPAN_LABEL, Link, Tables

_OTHER, _PYTHON = 0, 1
# The first grey one is the default category; subcategory 0 is the category itself.
CATEGORIES = [
    {"name": "Other", "color": "grey", "subcategories": ["Other"]},
    {"name": "Python", "color": "yellow", "subcategories": ["Other"]},
]

_MARKER = "otelprof.span"
MARKER_SCHEMA = [
    {
        "name": _MARKER,
        "display": ["timeline-overview", "marker-chart", "marker-table"],
        "tableLabel": "{marker.data.trace_id} {marker.data.span_id} {marker.data.labels}",
        "fields": [
            {"key": key, "label": key, "format": "string"} for key in (*Link._fields, "labels")
        ],
    },
]
_INTERVAL = 1  # phase of a marker that has a start and an end

_FRAME_COLUMNS = (
    *("address", "inlineDepth", "category", "subcategory", "func", "nativeSymbol"),
    *("innerWindowID", "line", "column"),
)
_FUNCTION_COLUMNS = (
    *("name", "isJS", "relevantForJS", "resource"),
    *("source", "lineNumber", "columnNumber"),
)

_WEIGHT_TYPES = {NANOSECONDS: "tracing-ms", "bytes": "bytes"}
_NS_PER_MS = 1_000_000
_NO_ADDRESS = -1
_NO_RESOURCE = -1

_Columns = dict[str, list[Any]]
_Span = tuple[Link, str]


class Shared:
    """What the threads of a file share: strings, source files, and names of spans by (trace id, span id)."""

    def __init__(self, span_names: Mapping[tuple[bytes, bytes], str]) -> None:
        self._span_names = span_names
        self._strings: dict[str, int] = {}
        self._sources: dict[str, int] = {}

    def string(self, text: str) -> int:
        """Its number among the strings."""
        return self._strings.setdefault(text, len(self._strings))

    def source(self, filename: str) -> int | None:
        """Its number among the source files; None for the empty one."""
        return self._sources.setdefault(filename, len(self._sources)) if filename else None

    def span_name(self, link: Link) -> str:
        """What a marker above samples of this span is called."""
        return self._span_names.get((link.trace_id, link.span_id), "(span not recorded)")

    def tables(self) -> dict[str, Any]:
        """`shared` in the file, when all threads are made."""
        filenames = [self.string(filename) for filename in self._sources]
        sources = _table({"uuid": [None] * len(filenames), "filename": filenames})
        return {"stringArray": list(self._strings), "sources": sources}


def thread(value: Value, rows: Sequence[int], shared: Shared) -> dict[str, Any]:
    """The tables of a thread that has `rows` of a canonical profile, each of some weight."""
    profile = value.profile
    tables = profile.tables
    labels = [_labels_shown(tables, row) for row in range(len(tables.label_sets))]

    def span_of(row: int) -> _Span:
        return tables.links[profile.link[row]], labels[profile.labels[row]]

    is_time = value.type.unit == NANOSECONDS
    total = sum(value.numbers[row] for row in rows)

    def at_ms(weight: int) -> float:
        """Where the axis is after so much weight: what is no time fills the window."""
        return (weight if is_time else weight * profile.duration_ns / max(1, total)) / _NS_PER_MS

    writer = _ThreadWriter(tables, shared)
    begin = 0
    for span, together in groupby(sorted(rows, key=span_of), key=span_of):
        end = begin
        for row in together:
            number = value.numbers[row]
            writer.sample(
                profile.stack[row], at_ms(end), number / _NS_PER_MS if is_time else number
            )
            end += number
        if any(span[0]) or span[1]:
            writer.marker(span, at_ms(begin), at_ms(end))
        begin = end
    # A sample that is nowhere and weighs nothing: without it the axis ends where the last one begins.
    writer.sample(0, at_ms(total), 0)
    return writer.tables(_WEIGHT_TYPES.get(value.type.unit, "samples"))


def _labels_shown(tables: Tables, row: int) -> str:
    """A label set without what the thread says already."""
    labels = tables.labels_of(row).items()
    return ", ".join(f"{key}={value}" for key, value in labels if key != "thread_name")


class _ThreadWriter:
    """Puts rows of a profile's tables into those of a thread when a sample first needs them."""

    def __init__(self, tables: Tables, shared: Shared) -> None:
        self._tables = tables
        self._shared = shared
        self._samples = _columns("stack", "time", "weight")
        self._stacks: dict[tuple[int | None, int], int] = {}
        self._frames: dict[int, int] = {}
        self._functions: dict[int, int] = {}
        self._frame_columns = _columns(*_FRAME_COLUMNS)
        self._function_columns = _columns(*_FUNCTION_COLUMNS)
        self._markers = _columns("data", "name", "startTime", "endTime", "phase", "category")

    def sample(self, stack: int, at_ms: float, weight: float) -> None:
        """Add a sample of row `stack` of the profile's stacks; of none if that is 0."""
        node: int | None = None
        for frame in reversed(self._tables.stacks[stack]):
            node = self._stacks.setdefault((node, self._frame(frame)), len(self._stacks))
        _append(self._samples, stack=node, time=at_ms, weight=weight)

    def marker(self, span: _Span, start_ms: float, end_ms: float) -> None:
        """Add the marker above the samples of a span, or of samples with labels only."""
        link, labels = span
        if any(link):
            name = self._shared.span_name(link)
        else:
            name = "(span unknown)" if labels == "=".join(UNKNOWN_SPAN_LABEL) else "(labels)"
        ids = {key: part.hex() for key, part in link._asdict().items() if part}
        _append(
            self._markers,
            data={"type": _MARKER, **ids, **({"labels": labels} if labels else {})},
            name=self._shared.string(name),
            startTime=start_ms,
            endTime=end_ms,
            phase=_INTERVAL,
            category=_OTHER,
        )

    def tables(self, weight_type: str) -> dict[str, Any]:
        """The tables in the file."""
        prefixes, frames = zip(*self._stacks, strict=True) if self._stacks else ((), ())
        return {
            "samples": {**_table(self._samples), "weightType": weight_type},
            "markers": _table(self._markers),
            "stackTable": _table({"frame": list(frames), "prefix": list(prefixes)}),
            "frameTable": _table(self._frame_columns),
            "funcTable": _table(self._function_columns),
            # For native code, of which there is none.
            "resourceTable": _table(_columns("lib", "name", "host", "type")),
            "nativeSymbols": _table(_columns("libIndex", "address", "name", "functionSize")),
        }

    def _frame(self, frame: int) -> int:
        row = self._frames.get(frame)
        if row is None:
            row = self._frames[frame] = len(self._frames)
            function, line, column = self._tables.frames[frame]
            has_file = bool(self._tables.functions[function].filename)
            _append(
                self._frame_columns,
                address=_NO_ADDRESS,
                inlineDepth=0,
                category=_PYTHON if has_file else _OTHER,
                subcategory=0,
                func=self._function(frame, function),
                nativeSymbol=None,
                innerWindowID=None,
                line=line or None,
                column=column or None,
            )
        return row

    def _function(self, frame: int, function: int) -> int:
        row = self._functions.get(function)
        if row is None:
            row = self._functions[function] = len(self._functions)
            _, filename, start_line = self._tables.functions[function]
            _append(
                self._function_columns,
                name=self._shared.string(name_shown(self._tables, frame)),
                isJS=False,
                relevantForJS=False,
                resource=_NO_RESOURCE,
                source=self._shared.source(self._tables.strings[filename]),
                lineNumber=start_line or None,
                columnNumber=None,
            )
        return row


def _columns(*names: str) -> _Columns:
    return {name: [] for name in names}


def _append(columns: _Columns, **row: object) -> None:
    for name, column in columns.items():
        column.append(row[name])


def _table(columns: _Columns) -> dict[str, Any]:
    return {**columns, "length": len(next(iter(columns.values())))}
