"""What a profile says, in few rows: time by function, and durations of outermost spans. Of all spans: `span_table`.

Pure functions on profiles and span records; the command line and later the report show what they return.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from otelprof.model import UNKNOWN_SPAN_LABEL, Profile, SpanRecord


@dataclass(slots=True)
class FunctionTime:
    """Time of one function, in nanoseconds. `self` is without what it calls, `total` is with that."""

    function: str
    self_cpu_ns: int = 0
    total_cpu_ns: int = 0
    self_wall_ns: int = 0
    total_wall_ns: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a profile, with names: functions leaf first, CPU or wall nanoseconds.

    Attributes:
        stack: row of `tables.stacks`.
    """

    functions: tuple[str, ...]
    stack: int
    trace_id: bytes
    span_id: bytes
    is_unknown: bool
    cpu_ns: int
    wall_ns: int


def by_function(profiles: Sequence[Profile]) -> list[FunctionTime]:
    """Time of every function, most self time first: CPU, then wall."""
    times: dict[str, FunctionTime] = {}
    for row in rows_of(profiles):
        credit(times, row)
    return sorted(times.values(), key=lambda t: (-t.self_cpu_ns, -t.self_wall_ns, t.function))


@dataclass(frozen=True, slots=True)
class RootTime:
    """All outermost spans of one name: how many, and how long half of them and 95 % of them took at most."""

    name: str
    count: int
    p50_ns: int
    p95_ns: int


def by_local_root(spans: Iterable[SpanRecord]) -> list[RootTime]:
    """Durations of the outermost spans of processes by name, slowest by p95 first."""
    durations: dict[str, list[int]] = {}
    for span in spans:
        if span.span_id == span.local_root_span_id:
            durations.setdefault(span.name, []).append(span.end_unix_ns - span.start_unix_ns)
    found = [
        RootTime(name, len(each), _percentile(each, 50), _percentile(each, 95))
        for name, each in durations.items()
    ]
    return sorted(found, key=lambda time: (-time.p95_ns, time.name))


def _percentile(numbers: list[int], percent: int) -> int:
    """The smallest of `numbers` that so many percent of them do not exceed (nearest rank)."""
    return sorted(numbers)[max(0, -(-len(numbers) * percent // 100) - 1)]


def rows_of(profiles: Sequence[Profile]) -> Iterator[Row]:
    """The rows of CPU and wall profiles."""
    for profile in profiles:
        if profile.kind not in {"cpu", "wall"}:
            continue
        tables = profile.tables
        names = [tables.function_name(frame) for frame in range(len(tables.frames))]
        stacks = [tuple(names[frame] for frame in stack) for stack in tables.stacks]
        key, value = UNKNOWN_SPAN_LABEL
        unknown = [tables.labels_of(n).get(key) == value for n in range(len(tables.label_sets))]
        weights = profile.column(profile.kind)
        for stack, link, labels, weight in zip(
            profile.stack,
            profile.link,
            profile.labels,
            weights,
            strict=True,
        ):
            yield Row(
                stacks[stack],
                stack,
                tables.links[link].trace_id,
                tables.links[link].span_id,
                unknown[labels],
                weight if profile.kind == "cpu" else 0,
                weight if profile.kind == "wall" else 0,
            )


def credit(times: dict[str, FunctionTime], row: Row) -> None:
    """Add `row` to the times of all functions on its stack."""
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
