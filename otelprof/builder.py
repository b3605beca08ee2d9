"""How a profile is built: row by row, from tables that intern what repeats."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Generic, TypeVar

from otelprof.model import (
    KINDS,
    NO_LINK,
    UNKNOWN_PRODUCER,
    Attributes,
    Frame,
    Function,
    LabelSet,
    Link,
    Producer,
    Profile,
    Tables,
    ValueType,
)

_Row = TypeVar("_Row")


class _Table(Generic[_Row]):
    """Rows interned in the order of their first use."""

    __slots__ = ("_index", "rows")

    def __init__(self, null: _Row) -> None:
        self.rows = [null]
        self._index = {null: 0}

    def add(self, row: _Row) -> int:
        number = self._index.get(row)
        if number is None:
            number = self._index[row] = len(self.rows)
            self.rows.append(row)
        return number


class ProfileBuilder:
    """Builds the tables and columns of a profile row by row, merging rows that say the same.

    Not thread-safe. O(1) for each call and distinct row.
    """

    def __init__(self, value_types: Iterable[ValueType]) -> None:
        self._value_types = tuple(value_types)
        self._strings = _Table("")
        self._functions = _Table(Function(0, 0, 0))
        self._frames = _Table(Frame(0, 0))
        self._stacks: _Table[tuple[int, ...]] = _Table(())
        self._links = _Table(NO_LINK)
        self._label_sets: _Table[LabelSet] = _Table(())
        self._rows: dict[tuple[int, int, int], list[int]] = {}

    def frame(self, name: str, filename: str, start_line: int, line: int, column: int = 0) -> int:
        """Intern a place in a function; returns its row."""
        string = self._strings.add
        function = self._functions.add(Function(string(name), string(filename), start_line))
        return self._frames.add(Frame(function, line, column))

    def stack(self, frames: Iterable[int]) -> int:
        """Intern a stack of frame rows, leaf first; returns its row."""
        return self._stacks.add(tuple(frames))

    def link(self, link: Link) -> int:
        """Intern the span of a sample; returns its row."""
        return self._links.add(link)

    def label_set(self, labels: Mapping[str, str]) -> int:
        """Intern a set of labels; returns its row."""
        string = self._strings.add
        return self._label_sets.add(
            tuple((string(k), string(v)) for k, v in sorted(labels.items()))
        )

    def add(self, stack: int, link: int, labels: int, values: Iterable[int]) -> None:
        """Add `values`, one for each value type, to the row of (stack, link, labels)."""
        row = self._rows.setdefault((stack, link, labels), [0] * len(self._value_types))
        for column, value in enumerate(values):
            row[column] += value

    def add_profile(self, profile: Profile, columns: Iterable[int]) -> None:
        """Add all rows of `profile`; `columns[i]` says where its i-th value column goes, -1 nowhere."""
        tables = profile.tables
        frames = [
            self.frame(
                tables.strings[function.name],
                tables.strings[function.filename],
                function.start_line,
                frame.line,
                frame.column,
            )
            if number
            else 0
            for number, frame in enumerate(tables.frames)
            for function in (tables.functions[frame.function],)
        ]
        stacks = [self.stack(frames[f] for f in stack) for stack in tables.stacks]
        links = [self.link(link) for link in tables.links]
        label_sets = [self.label_set(tables.labels_of(n)) for n in range(len(tables.label_sets))]
        wanted = [(source, to) for source, to in enumerate(columns) if to >= 0]
        for row in range(len(profile)):
            values = [0] * len(self._value_types)
            for source, to in wanted:
                values[to] += profile.values[source][row]
            self.add(
                stacks[profile.stack[row]],
                links[profile.link[row]],
                label_sets[profile.labels[row]],
                values,
            )

    def tables(self) -> Tables:
        """The dictionary as it is now."""
        return Tables(
            strings=tuple(self._strings.rows),
            functions=tuple(self._functions.rows),
            frames=tuple(self._frames.rows),
            stacks=tuple(self._stacks.rows),
            links=tuple(self._links.rows),
            label_sets=tuple(self._label_sets.rows),
        )

    def build(  # noqa: PLR0913 - the fields of a profile
        self,
        *,
        kind: str,
        start_unix_ns: int,
        duration_ns: int,
        period_type: ValueType,
        period: int,
        resource: Attributes = (),
        profile_id: bytes = b"",
        producer: Producer = UNKNOWN_PRODUCER,
        losses: Iterable[tuple[str, int]] = (),
    ) -> Profile:
        """The profile of all rows added so far."""
        keys = list(self._rows)
        columns = zip(*self._rows.values(), strict=True) if keys else ((),) * len(self._value_types)
        return Profile(
            kind=kind,
            start_unix_ns=start_unix_ns,
            duration_ns=duration_ns,
            period_type=period_type,
            period=period,
            value_types=self._value_types,
            tables=self.tables(),
            stack=tuple(key[0] for key in keys),
            link=tuple(key[1] for key in keys),
            labels=tuple(key[2] for key in keys),
            values=tuple(columns),
            resource=resource,
            profile_id=profile_id,
            producer=producer,
            losses=tuple(losses),
        )

    def in_place_of(self, profile: Profile) -> Profile:
        """All rows added so far, with everything else as in `profile`."""
        return self.build(
            kind=profile.kind,
            start_unix_ns=profile.start_unix_ns,
            duration_ns=profile.duration_ns,
            period_type=profile.period_type,
            period=profile.period,
            resource=profile.resource,
            profile_id=profile.profile_id,
            producer=profile.producer,
            losses=profile.losses,
        )


def merged(profiles: Iterable[Profile]) -> list[Profile]:
    """Add up profiles of the same kind and value types; the order of kinds is kept.

    The window becomes the hull of the windows; resource, producer and profile id are those of the first, the
    period is the latest's. CPU time that was counted in different periods is counted again, in that one; without
    a weight to do so, profiles of different periods stay apart. O(rows and table entries of all profiles).
    """
    groups: dict[object, list[Profile]] = {}
    for profile in profiles:
        has_weight = profile.kind in KINDS and KINDS[profile.kind][1] in profile.value_types
        period = 0 if has_weight else profile.period
        key = (profile.kind, profile.period_type, period, profile.value_types)
        groups.setdefault(key, []).append(profile)
    return [_sum(group) for group in groups.values()]


def _sum(group: list[Profile]) -> Profile:
    first = group[0]
    if len(group) == 1:
        return first
    builder = ProfileBuilder(first.value_types)
    losses: dict[str, int] = {}
    for profile in group:
        builder.add_profile(profile, range(len(first.value_types)))
        for reason, count in profile.losses:
            losses[reason] = losses.get(reason, 0) + count
    start_unix_ns = min(p.start_unix_ns for p in group)
    period = max(group, key=lambda p: p.start_unix_ns).period
    profile = builder.build(
        kind=first.kind,
        start_unix_ns=start_unix_ns,
        duration_ns=max(p.start_unix_ns + p.duration_ns for p in group) - start_unix_ns,
        period_type=first.period_type,
        period=period,
        resource=first.resource,
        profile_id=first.profile_id,
        producer=first.producer,
        losses=losses.items(),
    )
    return profile if all(p.period == period for p in group) else _counted_again(profile)


def _counted_again(profile: Profile) -> Profile:
    """A CPU profile's `samples` are its time in periods, whatever they were counted in (docs/formats.md)."""
    if profile.kind != "cpu":
        return profile
    counts: list[int] = []
    left_ns = 0
    for cpu_ns in profile.column("cpu"):
        count, left_ns = divmod(cpu_ns + left_ns, profile.period)
        counts.append(count)
    columns = dict(zip(profile.value_types, profile.values, strict=True))
    if KINDS["cpu"][0] in columns:
        columns[KINDS["cpu"][0]] = tuple(counts)
    return replace(profile, values=tuple(columns.values()))
