"""What a profile says, in few rows: time by function, and time by span name.

Pure functions on profiles and span records; the command line and later the report show what they return.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from otelprof.model import Profile, SpanRecord

NO_SPAN = "(no span)"
UNKNOWN_SPAN = "(span unknown)"
UNRECORDED_SPAN = "(span not ended or not recorded)"


@dataclass(slots=True)
class FunctionTime:
    """Time of one function, in nanoseconds. `self` is without what it calls, `total` is with that."""

    function: str
    self_cpu_ns: int = 0
    total_cpu_ns: int = 0
    self_wall_ns: int = 0
    total_wall_ns: int = 0


@dataclass(slots=True)
class SpanTime:
    """All spans of one name, or, in parentheses, all samples that belong to no recorded span.

    Times are sums in nanoseconds and include child spans in the same process.

    Attributes:
        count: ended spans of this name; 0 for names in parentheses.
        duration_ns: sum of their durations.
        cpu_ns: CPU time.
        wall_ns: time on a thread, running or blocked.
        functions: their time, by function.
    """

    name: str
    count: int = 0
    duration_ns: int = 0
    cpu_ns: int = 0
    wall_ns: int = 0
    functions: dict[str, FunctionTime] = field(default_factory=dict[str, FunctionTime])

    @property
    def waiting_ns(self) -> int:
        """Duration that no sample of a thread covers: the task was suspended. Never below 0."""
        return max(0, self.duration_ns - self.wall_ns)

    @property
    def mean_ns(self) -> float:
        """Mean duration of a span."""
        return self.duration_ns / self.count if self.count else 0.0


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a profile, with names: functions leaf first, CPU or wall nanoseconds."""

    functions: tuple[str, ...]
    trace_id: bytes
    span_id: bytes
    is_unknown: bool
    cpu_ns: int
    wall_ns: int


def by_function(profiles: Sequence[Profile]) -> list[FunctionTime]:
    """Time of every function, most self time first: CPU, then wall."""
    times: dict[str, FunctionTime] = {}
    for row in _rows(profiles):
        _credit(times, row)
    return sorted(times.values(), key=lambda t: (-t.self_cpu_ns, -t.self_wall_ns, t.function))


def by_span(profiles: Sequence[Profile], spans: Iterable[SpanRecord]) -> list[SpanTime]:
    """Time of every span name, slowest by mean duration first; what belongs to no recorded span at the end.

    A sample counts for its own span and for every recorded span above that, but once for each name.
    """
    records = {(span.trace_id, span.span_id): span for span in spans}
    times: dict[str, SpanTime] = {}
    for span in records.values():
        time = times.setdefault(span.name, SpanTime(span.name))
        time.count += 1
        time.duration_ns += span.end_unix_ns - span.start_unix_ns
    for row in _rows(profiles):
        for name in _span_names(row, records):
            time = times.setdefault(name, SpanTime(name))
            time.cpu_ns += row.cpu_ns
            time.wall_ns += row.wall_ns
            _credit(time.functions, row)
    return sorted(times.values(), key=lambda t: (t.count == 0, -t.mean_ns, t.name))


def top_functions(time: SpanTime) -> list[FunctionTime]:
    """The functions of a span name, by the sampled time spent in themselves, most first."""
    return sorted(
        time.functions.values(), key=lambda t: (-t.self_wall_ns, -t.self_cpu_ns, t.function)
    )


def _span_names(row: _Row, records: dict[tuple[bytes, bytes], SpanRecord]) -> set[str]:
    if row.is_unknown:
        return {UNKNOWN_SPAN}
    if not row.span_id:
        return {NO_SPAN}
    names: set[str] = set()
    seen: set[bytes] = set()
    span = records.get((row.trace_id, row.span_id))
    while span is not None and span.span_id not in seen:
        seen.add(span.span_id)
        names.add(span.name)
        span = records.get((span.trace_id, span.parent_span_id))
    return names or {UNRECORDED_SPAN}


def _rows(profiles: Sequence[Profile]) -> Iterator[_Row]:
    for profile in profiles:
        if profile.kind not in {"cpu", "wall"}:
            continue
        tables = profile.tables
        names = [tables.function_name(frame) for frame in range(len(tables.frames))]
        stacks = [tuple(names[frame] for frame in stack) for stack in tables.stacks]
        unknown = [
            tables.labels_of(n).get("span") == "unknown" for n in range(len(tables.label_sets))
        ]
        weights = profile.column(profile.kind)
        for stack, link, labels, weight in zip(
            profile.stack,
            profile.link,
            profile.labels,
            weights,
            strict=True,
        ):
            yield _Row(
                stacks[stack],
                tables.links[link].trace_id,
                tables.links[link].span_id,
                unknown[labels],
                weight if profile.kind == "cpu" else 0,
                weight if profile.kind == "wall" else 0,
            )


def _credit(times: dict[str, FunctionTime], row: _Row) -> None:
    leaf = row.functions[0] if row.functions else ""
    for name in set(row.functions):  # once, however often it stands on the stack
        time = times.setdefault(name, FunctionTime(name))
        time.total_cpu_ns += row.cpu_ns
        time.total_wall_ns += row.wall_ns
        if name == leaf:
            time.self_cpu_ns += row.cpu_ns
            time.self_wall_ns += row.wall_ns


def total_ns(profiles: Iterable[Profile]) -> dict[str, int]:
    """The sum of each kind's weight."""
    totals: dict[str, int] = defaultdict(int)
    for profile in profiles:
        totals[profile.kind] += sum(profile.values[-1])
    return dict(totals)
