"""Profiles in parts that fit what receivers take, and parts in requests. Pure functions.

A part is a profile of its own: some rows, and of the tables what they need. The sums of all parts' columns are those of
the whole, which also its losses are counted in once, with the first part. Equal input gives equal parts.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

from otelprof.formats.text import encodable
from otelprof.model import (
    PROFILE_ID_BYTES,
    AttributeValue,
    Frame,
    Function,
    LabelSet,
    Profile,
    Tables,
)

_Row = TypeVar("_Row")


class Limits(NamedTuple):
    """What a receiver takes at once.

    Attributes:
        max_bytes: of a request, before compression.
        max_samples: of a profile.
        max_profiles: of a request; None for no limit.
    """

    max_bytes: int
    max_samples: int
    max_profiles: int | None = None


# The smallest of what is usual: Pyroscope takes 16,000 samples a profile and never more than its burst of 2 MB, and a
# Collector 4 MiB by gRPC (grafana/pyroscope pkg/validation/limits.go, grpc-go's default). One for all receivers, since
# what OTLP and HTTP reach may pass profiles on to Pyroscope.
LIMITS = Limits(max_bytes=1_500_000, max_samples=16_000)

# Upper bounds of what a row of each table takes in pprof or OTLP, in bytes, without its indices and its text.
_STRING, _FUNCTION, _FRAME, _STACK, _LINK, _ATTRIBUTE = 6, 20, 36, 12, 96, 24
_SAMPLE, _VALUE, _LABEL, _MESSAGE = 32, 10, 6, 512


class Part(NamedTuple):
    """A profile that fits, and the number of the profile that it is (a part of)."""

    profile: Profile
    whole: int


def requests_of(profiles: Iterable[Profile], limits: Limits) -> Iterator[tuple[Part, ...]]:
    """All of `profiles`, in as few requests as `limits` allow, in order."""
    request: list[Part] = []
    size_bytes = 0
    for whole, profile in enumerate(profiles):
        for part in parts_of(profile, limits):
            part_bytes = size_bound(part)
            is_full = len(request) == limits.max_profiles
            if is_full or (request and size_bytes + part_bytes > limits.max_bytes):
                yield tuple(request)
                request, size_bytes = [], 0
            request.append(Part(part, whole))
            size_bytes += part_bytes
    if request:
        yield tuple(request)


def parts_of(profile: Profile, limits: Limits) -> list[Profile]:
    """`profile` itself if it fits, else parts of it with ids derived from its own. A row is never cut.

    O(rows times depth) time for a profile that does not fit, O(rows and table entries) for one that does.
    """
    if len(profile) <= limits.max_samples and size_bound(profile) <= limits.max_bytes:
        return [profile]
    cuts = [*_cuts(profile, limits), len(profile)]
    return [_part(profile, start, stop) for start, stop in pairwise(cuts)]


def size_bound(profile: Profile) -> int:
    """No less than the bytes of `profile` in pprof or OTLP before compression. O(rows and table entries)."""
    tables, cost = profile.tables, _Cost(profile)
    depths = [len(stack) for stack in tables.stacks]
    return (
        cost.message
        + sum(map(cost.text, tables.strings))
        + len(tables.functions) * cost.function
        + len(tables.frames) * cost.frame
        + len(tables.stacks) * _STACK
        + len(tables.links) * _LINK
        + len(profile) * cost.sample
        + sum(depths[stack] for stack in profile.stack) * cost.index
        + sum(len(tables.label_sets[row]) for row in profile.labels) * cost.label
    )


class _Cost:
    """Upper bounds in bytes for one profile: its largest index decides how long all are."""

    def __init__(self, profile: Profile) -> None:
        tables = profile.tables
        # Links become strings in pprof, attributes in OTLP.
        entries = 64 + len(tables.strings) + 3 * len(tables.links) + len(profile.resource)
        entries = max(entries, len(tables.frames), len(tables.stacks), len(tables.functions))
        self.index = -(-entries.bit_length() // 7)
        self.function = _FUNCTION + 3 * self.index
        self.frame = _FRAME + 2 * self.index
        self.label = _LABEL + 2 * self.index
        self.sample = _SAMPLE + 2 * self.index + _VALUE * len(profile.value_types) + 3 * self.label
        described = (*profile.resource, *profile.losses, *profile.producer._asdict().items())
        self.message = _MESSAGE + sum(
            _ATTRIBUTE + 2 * self.text(key) + _text_bytes(value) for key, value in described
        )

    @staticmethod
    def text(text: str) -> int:
        """A row of the string table."""
        return _STRING + len(encodable(text).encode())


def _text_bytes(value: AttributeValue) -> int:
    if isinstance(value, tuple):
        return sum(_ATTRIBUTE + len(encodable(item).encode()) for item in value)
    return len(encodable(str(value)).encode())


def _cuts(profile: Profile, limits: Limits) -> Iterator[int]:
    """The rows that parts begin with."""
    cost = _Cost(profile)
    size_bytes = limits.max_bytes + 1  # the first row begins a part
    begin = 0
    seen = _Seen(profile.tables, cost)
    for row in range(len(profile)):
        added = seen.add(profile.stack[row], profile.link[row], profile.labels[row])
        if size_bytes + added > limits.max_bytes or row - begin == limits.max_samples:
            yield row
            begin = row
            seen = _Seen(profile.tables, cost)
            size_bytes = cost.message
            added = seen.add(profile.stack[row], profile.link[row], profile.labels[row])
        size_bytes += added


class _Seen:
    """Which table rows a part has already."""

    def __init__(self, tables: Tables, cost: _Cost) -> None:
        self._tables = tables
        self._cost = cost
        self._strings: set[int] = set()
        self._functions: set[int] = set()
        self._frames: set[int] = set()
        self._stacks: set[int] = set()
        self._links: set[int] = set()

    def add(self, stack: int, link: int, labels: int) -> int:
        """The bytes that a row adds, with what it is the first to need."""
        tables, cost = self._tables, self._cost
        frames = tables.stacks[stack]
        added = cost.sample + len(frames) * cost.index
        if stack not in self._stacks:
            self._stacks.add(stack)
            added += _STACK
            if not self._frames.issuperset(frames):  # most are known, and asking at once is quick
                added += sum(map(self._frame, frames))
        if link not in self._links:
            self._links.add(link)
            added += _LINK
        for key, value in tables.label_sets[labels]:
            added += cost.label + self._string(key) + self._string(value)
        return added

    def _frame(self, row: int) -> int:
        if row in self._frames:
            return 0
        self._frames.add(row)
        added = self._cost.frame
        number = self._tables.frames[row].function
        if number not in self._functions:
            self._functions.add(number)
            function = self._tables.functions[number]
            added += self._cost.function
            added += self._string(function.name) + self._string(function.filename)
        return added

    def _string(self, row: int) -> int:
        if row in self._strings:
            return 0
        self._strings.add(row)
        return self._cost.text(self._tables.strings[row])


class _Kept(Generic[_Row]):
    """The rows of a table that a part needs, in the order of their first use."""

    def __init__(self, table: Sequence[_Row], renumbered: Callable[[_Row], _Row]) -> None:
        self.rows = [table[0]]
        self._table = table
        self._renumbered = renumbered
        self._new = {0: 0}

    def row(self, old: int) -> int:
        """The new number of a row."""
        new = self._new.get(old)
        if new is None:
            self.rows.append(self._renumbered(self._table[old]))
            new = self._new[old] = len(self.rows) - 1
        return new

    def all(self, olds: tuple[int, ...]) -> tuple[int, ...]:
        """The same for several; where all are known, which is the rule, without a call for each."""
        if not self._new.keys() >= set(olds):
            for old in olds:
                self.row(old)
        return tuple(map(self._new.__getitem__, olds))


def _part(profile: Profile, start: int, stop: int) -> Profile:
    tables = profile.tables
    strings = _Kept(tables.strings, lambda text: text)

    def function_of(row: Function) -> Function:
        return Function(strings.row(row.name), strings.row(row.filename), row.start_line)

    def frame_of(row: Frame) -> Frame:
        return row._replace(function=functions.row(row.function))

    def labels_of(row: LabelSet) -> LabelSet:
        return tuple((strings.row(key), strings.row(value)) for key, value in row)

    functions = _Kept(tables.functions, function_of)
    frames = _Kept(tables.frames, frame_of)
    stacks = _Kept(tables.stacks, frames.all)
    links = _Kept(tables.links, lambda row: row)
    label_sets = _Kept(tables.label_sets, labels_of)
    rows = slice(start, stop)
    return replace(
        profile,
        stack=stacks.all(profile.stack[rows]),
        link=links.all(profile.link[rows]),
        labels=label_sets.all(profile.labels[rows]),
        values=tuple(column[rows] for column in profile.values),
        # After the columns, which fill them.
        tables=Tables(
            strings=tuple(strings.rows),
            functions=tuple(functions.rows),
            frames=tuple(frames.rows),
            stacks=tuple(stacks.rows),
            links=tuple(links.rows),
            label_sets=tuple(label_sets.rows),
        ),
        profile_id=_part_id(profile.profile_id, start, stop),
        losses=() if start else profile.losses,
    )


def _part_id(profile_id: bytes, start: int, stop: int) -> bytes:
    """The id of a part: the same whenever the same profile is split in the same way; none without one."""
    if not profile_id:
        return b""
    rows = start.to_bytes(8, "big") + stop.to_bytes(8, "big")
    return blake2b(profile_id + rows, digest_size=PROFILE_ID_BYTES).digest()
