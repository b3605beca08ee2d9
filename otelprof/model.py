"""What flows through otelprof: profiles, and the spans recorded beside them.

A `Profile` is columnar: dictionary tables hold every string, function, frame, stack, link and label
set once, and parallel columns of indices and integers say which of them each row joins. It is the
shape of OTLP's profiles dictionary, so that encoding is a walk. Everything here is frozen: a stage
that wants another value builds a new one, and two threads may read the same profile.

Row 0 of every table is its null value, so index 0 always means "none".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

AttributeValue = bool | int | float | str | tuple[str, ...]
Attributes = tuple[tuple[str, AttributeValue], ...]

TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8
PROFILE_ID_BYTES = 16
MAX_INT64 = 2**63 - 1  # every number of a profile fits into this: formats have no larger ones


class ValueType(NamedTuple):
    """What a number counts and in which unit, in the names of pprof and OTLP."""

    type: str
    unit: str


COUNT = "count"
NANOSECONDS = "nanoseconds"

# What the profiles of a kind measure (docs/formats.md). The first counts, the second weighs.
KINDS = {
    "cpu": (ValueType("samples", COUNT), ValueType("cpu", NANOSECONDS)),
    "wall": (ValueType("samples", COUNT), ValueType("wall", NANOSECONDS)),
}


class Function(NamedTuple):
    """A function. `name` and `filename` are rows of `Tables.strings`.

    `start_line` counts from 1; 0 if unknown.
    """

    name: int
    filename: int
    start_line: int


class Frame(NamedTuple):
    """One place in one function: `function` is a row of `Tables.functions`.

    `line` counts from 1, 0 if not known. `column` is where the expression begins in that line, in bytes of UTF-8
    as CPython counts them (`co_positions`), but from 1; 0 if not known.
    """

    function: int
    line: int
    column: int = 0


class Link(NamedTuple):
    """The span that was current: 16-byte trace id, 8-byte span id, big endian as in W3C.

    `local_root_span_id` is the outermost span of this process above it, empty if unknown.
    """

    trace_id: bytes
    span_id: bytes
    local_root_span_id: bytes = b""


NO_LINK = Link(b"", b"")

# A label set: (key, value) rows of `Tables.strings`, sorted by the text of the key.
LabelSet = tuple[tuple[int, int], ...]

# The label of samples whose span could not be proved.
UNKNOWN_SPAN_LABEL = ("span", "unknown")


@dataclass(frozen=True, slots=True)
class Tables:
    """The dictionary of a profile. Row 0 of each table is its null value.

    Attributes:
        stacks: rows of `frames`, leaf first.
    """

    strings: tuple[str, ...] = ("",)
    functions: tuple[Function, ...] = (Function(0, 0, 0),)
    frames: tuple[Frame, ...] = (Frame(0, 0),)
    stacks: tuple[tuple[int, ...], ...] = ((),)
    links: tuple[Link, ...] = (NO_LINK,)
    label_sets: tuple[LabelSet, ...] = ((),)

    def function_of(self, frame: int) -> Function:
        """The function that row `frame` of the frames lies in."""
        return self.functions[self.frames[frame].function]

    def function_name(self, frame: int) -> str:
        """The name of the function that row `frame` of the frames lies in."""
        return self.strings[self.function_of(frame).name]

    def labels_of(self, label_set: int) -> dict[str, str]:
        """The label set in row `label_set`, as strings."""
        return {self.strings[k]: self.strings[v] for k, v in self.label_sets[label_set]}


class Producer(NamedTuple):
    """Who took the samples: version of otelprof, sampler (`core` or `python`), and why that one."""

    version: str
    sampler: str
    reason: str = ""


UNKNOWN_PRODUCER = Producer("", "")


@dataclass(frozen=True, slots=True)
class Profile:
    """What one collector saw of one kind in one window of time.

    Attributes:
        kind: `cpu`, `wall`, … as in the table of kinds in docs/formats.md.
        start_unix_ns: begin of the window.
        duration_ns: its length, from a monotonic clock.
        period_type, period: the distance between two samples, never 0.
        value_types: one for each column of `values`.
        tables: the dictionary of the indices below.
        stack, link, labels: columns of rows in `tables.stacks`, `.links`, `.label_sets`.
        values: one column for each value type, never negative.
        resource: attributes of the process, a snapshot of the time of the flush.
        profile_id: 16 random bytes, the same from flush to delivery, so receivers can drop doubles.
        producer: who took the samples.
        losses: what this profile lacks, by reason; counts of samples unless the name says otherwise.
    """

    kind: str
    start_unix_ns: int
    duration_ns: int
    period_type: ValueType
    period: int
    value_types: tuple[ValueType, ...]
    tables: Tables
    stack: tuple[int, ...]
    link: tuple[int, ...]
    labels: tuple[int, ...]
    values: tuple[tuple[int, ...], ...]
    resource: Attributes = ()
    profile_id: bytes = b""
    producer: Producer = UNKNOWN_PRODUCER
    losses: tuple[tuple[str, int], ...] = ()

    def __len__(self) -> int:
        return len(self.stack)

    def column(self, value_type: str) -> tuple[int, ...]:
        """The values of type `value_type`, such as `cpu` or `samples`.

        Raises:
            KeyError: the profile has no such column.
        """
        for number, candidate in enumerate(self.value_types):
            if candidate.type == value_type:
                return self.values[number]
        raise KeyError(value_type)

    def problem(self) -> str | None:
        """The first rule that this profile breaks, in words; None if it is valid."""
        return next(_problems(self), None)


class SpanRecord(NamedTuple):
    """One ended span, as much of it as is needed to roll profiles up by it.

    Attributes:
        parent_span_id: empty for a root. The parent may live in another process: see `local_root_span_id`.
        local_root_span_id: the outermost span of this process above it, its own id if it is that.
        kind: as OTLP numbers it (1 internal, 2 server, 3 client, 4 producer, 5 consumer).
        route: `http.route`, empty if the span has none.
        status: as OTLP numbers it (0 unset, 1 ok, 2 error).
        thread: name of the thread in which it ended.
    """

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    local_root_span_id: bytes
    name: str
    kind: int
    route: str
    status: int
    start_unix_ns: int
    end_unix_ns: int
    thread: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What one flush hands to an exporter: the profiles of a window and the spans that ended in it."""

    profiles: tuple[Profile, ...]
    spans: tuple[SpanRecord, ...] = ()
    resource: Attributes = ()


def _problems(p: Profile) -> Iterator[str]:
    """Every rule of a valid profile, cheapest first."""
    if not p.kind:
        yield "kind is empty"
    if not p.value_types:
        yield "value_types is empty"
    for value_type in (*p.value_types, p.period_type):
        if not value_type.type or not value_type.unit:
            yield f"value type {value_type.type!r}/{value_type.unit!r} lacks a name"
    if len(set(p.value_types)) != len(p.value_types):
        yield "value_types has a double"
    if len(p.profile_id) not in (0, PROFILE_ID_BYTES) or (p.profile_id and not any(p.profile_id)):
        yield f"profile_id has {len(p.profile_id)} bytes or is all zero, not {PROFILE_ID_BYTES} bytes"
    yield from _scalar_problems(p)
    yield from _key_problems(p)
    yield from _table_problems(p.tables)
    yield from _column_problems(p)


def _scalar_problems(p: Profile) -> Iterator[str]:
    if p.start_unix_ns < 0 or p.duration_ns < 0:
        yield f"start {p.start_unix_ns} ns and duration {p.duration_ns} ns may not be negative"
    if p.start_unix_ns + p.duration_ns > MAX_INT64:
        yield f"end {p.start_unix_ns + p.duration_ns} ns does not fit into 64 bits"
    if p.period <= 0:
        yield f"period {p.period} is not positive"
    if p.period > MAX_INT64:
        yield f"period {p.period} does not fit into 64 bits"


def _key_problems(p: Profile) -> Iterator[str]:
    if len({key for key, _ in p.resource}) != len(p.resource):
        yield "resource has a key twice"
    for key, value in p.resource:
        if isinstance(value, int) and not -MAX_INT64 - 1 <= value <= MAX_INT64:
            yield f"resource attribute {key!r} does not fit into 64 bits"
    if len({reason for reason, _ in p.losses}) != len(p.losses):
        yield "losses have a reason twice"
    for reason, count in p.losses:
        if not 0 <= count <= MAX_INT64:
            yield f"loss {reason!r} is {count}"


def _table_problems(t: Tables) -> Iterator[str]:
    nulls = ("", Function(0, 0, 0), Frame(0, 0), (), NO_LINK, ())
    tables = (t.strings, t.functions, t.frames, t.stacks, t.links, t.label_sets)
    names = ("strings", "functions", "frames", "stacks", "links", "label_sets")
    for name, table, null in zip(names, tables, nulls, strict=True):
        if not table or table[0] != null:
            yield f"row 0 of {name} is not the null value"
        elif len(set(table)) != len(table):
            yield f"{name} has a row twice"
    yield from _function_problems(t)
    yield from _frame_problems(t)
    yield from _link_problems(t)
    for row, labels in enumerate(t.label_sets):
        if not all(0 < k < len(t.strings) and _inside(v, t.strings) for k, v in labels):
            yield f"label set {row} points outside strings"
        elif len({k for k, _ in labels}) != len(labels):
            yield f"label set {row} has a key twice"
        elif list(labels) != sorted(labels, key=lambda label: t.strings[label[0]]):
            yield f"label set {row} is not sorted by key"


def _function_problems(t: Tables) -> Iterator[str]:
    for row, function in enumerate(t.functions):
        if not (_inside(function.name, t.strings) and _inside(function.filename, t.strings)):
            yield f"function {row} points outside strings"
        elif row and not (function.name or function.filename):
            yield f"function {row} has neither name nor filename"
        elif not 0 <= function.start_line <= MAX_INT64:
            yield f"function {row} starts at line {function.start_line}"


def _frame_problems(t: Tables) -> Iterator[str]:
    for row, frame in enumerate(t.frames):
        if not _inside(frame.function, t.functions) or (row and not frame.function):
            yield f"frame {row} points outside functions"
        elif not 0 <= frame.line <= MAX_INT64:
            yield f"frame {row} is at line {frame.line}"
        elif not 0 <= frame.column <= MAX_INT64:
            yield f"frame {row} is at column {frame.column}"
    for row, stack in enumerate(t.stacks):
        if not all(0 < frame < len(t.frames) for frame in stack):
            yield f"stack {row} points outside frames"


def _link_problems(t: Tables) -> Iterator[str]:
    for row, link in enumerate(t.links[1:], 1):
        if len(link.trace_id) != TRACE_ID_BYTES or len(link.span_id) != SPAN_ID_BYTES:
            yield f"link {row} has ids of {len(link.trace_id)} and {len(link.span_id)} bytes"
        elif len(link.local_root_span_id) not in (0, SPAN_ID_BYTES):
            yield f"link {row} has a local root of {len(link.local_root_span_id)} bytes"
        elif not any(link.trace_id) or not any(link.span_id):
            yield f"link {row} has an id of zeros"


def _column_problems(p: Profile) -> Iterator[str]:
    rows = len(p.stack)
    if len(p.values) != len(p.value_types):
        yield f"{len(p.values)} columns of values for {len(p.value_types)} value types"
    if any(len(column) != rows for column in (p.link, p.labels, *p.values)):
        yield "columns differ in length"
    if not all(0 < stack < len(p.tables.stacks) for stack in p.stack):
        yield "a row points outside stacks or has no stack"
    if not all(_inside(link, p.tables.links) for link in p.link):
        yield "a row points outside links"
    if not all(_inside(labels, p.tables.label_sets) for labels in p.labels):
        yield "a row points outside label_sets"
    if any(value < 0 for column in p.values for value in column):
        yield "a value is negative"
    if any(value > MAX_INT64 for column in p.values for value in column):
        yield "a value does not fit into 64 bits"
    if len(set(zip(p.stack, p.link, p.labels, strict=False))) != rows:
        yield "two rows have the same stack, link and labels"


def _inside(row: int, table: tuple[object, ...]) -> bool:
    return 0 <= row < len(table)
