"""What spans of one name took, and what made them slow: a function of the application, or waiting.

Pure functions on profiles and span records, as in `summary`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from otelprof.model import Profile, SpanRecord
from otelprof.own_code import Behind, own_functions
from otelprof.summary import FunctionTime, Row, credit, rows_of

NO_SPAN = "(no span)"
UNKNOWN_SPAN = "(span unknown)"
UNRECORDED_SPAN = "(span not ended or not recorded)"
WAITING = "(waiting, not sampled)"

# In so many periods no sample at all comes by chance in one of twenty cases (e^-3).
_LEAST_PERIODS = 3

# A span that ends later than one above it goes on without that, as a background task does: it does not count for it. Ends
# that are so near are of spans that were left together.
_SAME_END_NS = 1_000_000

_SpanKey = tuple[bytes, bytes]  # trace id, span id


class Place(NamedTuple):
    """Where time went.

    Attributes:
        function: the application's function behind it, see `own_code`; `WAITING` for time in which no thread was sampled in
            a span: its task was suspended, or nothing ran it.
        span: name of the child span in which that was; empty for the span itself.
    """

    function: str
    span: str


@dataclass(slots=True)
class SpanTime:
    """All spans of one name, or, in parentheses, all samples that belong to no recorded span.

    Times are sums in nanoseconds and include child spans of the same process that do not outlive them.

    Attributes:
        count: ended spans of this name; 0 for names in parentheses.
        duration_ns: sum of their durations.
        inner_ns: of that, what is of spans within another one of the same name.
        cpu_ns: CPU time.
        wall_ns: time on a thread, running or blocked.
        functions: their time, by function.
        places: where their time went: on threads, and waiting; by CPU time alone where wall time was not collected.
        cpu_places: CPU time in those; None if CPU time was not collected.
        own: those functions of `places` that are the application's own.
        period_ns: the distance of the samples that `places` are made of.
    """

    name: str
    count: int = 0
    duration_ns: int = 0
    inner_ns: int = 0
    cpu_ns: int = 0
    wall_ns: int = 0
    functions: dict[str, FunctionTime] = field(default_factory=dict[str, FunctionTime])
    places: dict[Place, int] = field(default_factory=lambda: defaultdict[Place, int](int))
    cpu_places: dict[Place, int] | None = None
    own: set[str] = field(default_factory=set[str])
    period_ns: int = 0

    @property
    def waiting_ns(self) -> int:
        """Duration that no sample of a thread covers: the task was suspended. Never below 0."""
        return max(0, self.duration_ns - self.inner_ns - self.wall_ns)

    @property
    def mean_ns(self) -> float:
        """Mean duration of a span."""
        return self.duration_ns / self.count if self.count else 0.0


class Cause(NamedTuple):
    """What spans of one name spent most of their time with.

    Attributes:
        function: as in `Place`.
        span: the child span in which most of that was; empty if it was none.
        span_function: of time that was waited for in a child span, the application's function that most samples of that
            span are in: it has called what was waited for. Empty if there is none.
        share: of all their time, from 0 to 1.
        is_on_cpu: whether at least half of it was CPU time; None if it is not known. Else a thread was blocked, or waited
            for a processor or for the interpreter's lock; or, with `WAITING`, there was no thread.
    """

    function: str
    span: str
    span_function: str
    share: float
    is_on_cpu: bool | None


def by_span(profiles: Sequence[Profile], spans: Iterable[SpanRecord]) -> list[SpanTime]:
    """Time of every span name, slowest by mean duration first; what belongs to no recorded span at the end.

    A sample counts for its own span and for every recorded span of the process above that, but once for each name, and not
    for those that had ended before its own has.
    """
    records = {(span.trace_id, span.span_id): span for span in spans}
    periods = {profile.kind: profile.period for profile in profiles}
    basis = "wall" if "wall" in periods else "cpu"
    lines = _Lines(records)
    times: dict[str, SpanTime] = {}

    def time_of(name: str) -> SpanTime:
        if name not in times:
            cpu_places = defaultdict[Place, int](int) if "cpu" in periods else None
            times[name] = SpanTime(name, cpu_places=cpu_places, period_ns=periods.get(basis, 0))
        return times[name]

    for key, span in records.items():
        time = time_of(span.name)
        duration_ns = span.end_unix_ns - span.start_unix_ns
        time.count += 1
        time.duration_ns += duration_ns
        time.inner_ns += duration_ns if lines.is_inner(key) else 0
    for profile, functions in zip(profiles, own_functions(profiles), strict=True):
        for row in rows_of([profile]):
            for name, child in _names(row, lines):
                _add(time_of(name), row, child, functions[row.stack], basis)
    if "wall" in periods:
        _add_waiting(times, records, lines)
    return sorted(times.values(), key=lambda t: (t.count == 0, -t.mean_ns, t.name))


def top_functions(time: SpanTime) -> list[FunctionTime]:
    """The functions of a span name, by the sampled time spent in themselves, most first."""
    return sorted(
        time.functions.values(), key=lambda t: (-t.self_wall_ns, -t.self_cpu_ns, t.function)
    )


def main_cause(time: SpanTime) -> Cause | None:
    """What made these spans slow; None if they were too short to tell."""
    all_ns = sum(time.places.values())
    if not all_ns or all_ns < _LEAST_PERIODS * time.period_ns:
        return None
    function, function_ns = _most(_sums((place.function, ns) for place, ns in time.places.items()))
    span, span_ns = _most({p.span: ns for p, ns in time.places.items() if p.function == function})
    span = span if 2 * span_ns >= function_ns else ""
    span_function, is_on_cpu = "", None
    if function == WAITING:
        span_function, is_on_cpu = _function_in(time, span) if span else "", False
    elif time.cpu_places is not None:
        cpu_ns = sum(ns for place, ns in time.cpu_places.items() if place.function == function)
        is_on_cpu = 2 * cpu_ns >= function_ns
    return Cause(function, span, span_function, function_ns / all_ns, is_on_cpu)


def _function_in(time: SpanTime, span: str) -> str:
    """The application's function that at least half of the samples in this child span are in; empty if there is none."""
    sampled = {p.function: ns for p, ns in time.places.items() if p.span == span}
    sampled.pop(WAITING, None)
    if not sampled:
        return ""
    function, ns = _most(sampled)
    return function if function in time.own and 2 * ns >= sum(sampled.values()) else ""


def _sums(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = defaultdict(int)
    for key, ns in pairs:
        sums[key] += ns
    return sums


def _most(sums: Mapping[str, int]) -> tuple[str, int]:
    """The largest; of equals the first by name."""
    return min(sums.items(), key=lambda found: (-found[1], found[0]))


class _Lines:
    """The names of spans from each one up to the outermost of its process that is recorded."""

    def __init__(self, records: Mapping[_SpanKey, SpanRecord]) -> None:
        self._records = records
        self._names: dict[_SpanKey, tuple[str, ...]] = {}
        self._inner: set[_SpanKey] = set()

    def __getitem__(self, key: _SpanKey) -> tuple[str, ...]:
        """Each name once, the span's own first; empty if it is not recorded."""
        if key not in self._names:
            above = [span.name for span in _above(key, self._records)]
            self._names[key] = tuple(dict.fromkeys(above))
            if above and above[0] in above[1:]:
                self._inner.add(key)
        return self._names[key]

    def is_inner(self, key: _SpanKey) -> bool:
        """Whether a span above has the same name."""
        return bool(self[key]) and key in self._inner


def _above(key: _SpanKey, records: Mapping[_SpanKey, SpanRecord]) -> Iterator[SpanRecord]:
    """The span, and those above for which its time counts."""
    own = records.get(key)
    span, seen = own, {key}
    while own is not None and span is not None:
        if _is_within(own, span):
            yield span
        above = (span.trace_id, span.parent_span_id)
        if span.span_id == span.local_root_span_id or above in seen:
            return
        seen.add(above)
        span = records.get(above)


def _is_within(below: SpanRecord, above: SpanRecord) -> bool:
    return below.end_unix_ns <= above.end_unix_ns + _SAME_END_NS


def _names(row: Row, lines: _Lines) -> Iterable[tuple[str, str]]:
    """The names of spans that `row` counts for, each with the name of the child span that it was in, if it was in one."""
    if row.is_unknown:
        names: tuple[str, ...] = (UNKNOWN_SPAN,)
    elif not row.span_id:
        names = (NO_SPAN,)
    else:
        names = lines[row.trace_id, row.span_id] or (UNRECORDED_SPAN,)
    return _with_child(names)


def _with_child(names: tuple[str, ...]) -> Iterable[tuple[str, str]]:
    return ((name, names[0] if name != names[0] else "") for name in names)


def _add(time: SpanTime, row: Row, child: str, behind: Behind, basis: str) -> None:
    time.cpu_ns += row.cpu_ns
    time.wall_ns += row.wall_ns
    credit(time.functions, row)
    place = Place(behind.function, child)
    time.places[place] += row.wall_ns if basis == "wall" else row.cpu_ns
    if time.cpu_places is not None:
        time.cpu_places[place] += row.cpu_ns
    if behind.is_own:
        time.own.add(behind.function)


def _add_waiting(
    times: Mapping[str, SpanTime], records: Mapping[_SpanKey, SpanRecord], lines: _Lines
) -> None:
    """Add what no sample covers: of each span the time that is no child's, less what was sampled in just that span.

    That is added up by names before it is compared, because a sample stands for a whole period, most of which may lie
    outside of a short span.
    """
    own_ns: dict[tuple[str, str], int] = defaultdict(int)  # by name, and name of the child or ""
    for key, alone_ns in _without_children(records).items():
        for name, child in _with_child(lines[key]):
            own_ns[name, child] += alone_ns
    for (name, child), alone_ns in own_ns.items():
        places = times[name].places
        sampled_ns = sum(ns for place, ns in places.items() if place.span == child)
        if alone_ns > sampled_ns:
            places[Place(WAITING, child)] = alone_ns - sampled_ns


def _without_children(records: Mapping[_SpanKey, SpanRecord]) -> dict[_SpanKey, int]:
    """How long each span lasted while none below it did whose time counts for it, in nanoseconds."""
    below: dict[_SpanKey, list[tuple[int, int]]] = defaultdict(list)
    for key, span in records.items():
        for above in islice(_above(key, records), 1, None):
            below[above.trace_id, above.span_id].append((span.start_unix_ns, span.end_unix_ns))
    alone_ns: dict[_SpanKey, int] = {}
    for key, span in records.items():
        covered_to = span.start_unix_ns
        uncovered_ns = max(0, span.end_unix_ns - span.start_unix_ns)
        for start, end in sorted(below.get(key, ())):
            begin, covered_to_next = max(start, covered_to), min(end, span.end_unix_ns)
            if covered_to_next > begin:
                uncovered_ns -= covered_to_next - begin
                covered_to = covered_to_next
        alone_ns[key] = uncovered_ns
    return alone_ns
