"""pprof: gzip of a protobuf `Profile`, as `go tool pprof`, Pyroscope and Parca read it.

    sample_type   samples/count  cpu/nanoseconds  wall/nanoseconds
    sample        1              10000000         10312000          labels trace_id, span_id, …
                  location ids, leaf first -> location -> line -> function -> string_table

pprof names each value type once in a file, so where two kinds both count `samples`, the first in `KINDS`
keeps its count and the other loses it. The process's resource, the producer and the losses leave as comments,
`key=value`. Labels: `trace_id` (32 hex), `span_id` and `local_root_span_id` (16 hex), `thread_name`.

The numbers are the fields of pprof.proto. Profiles that say the same give the same bytes: tables and samples
are sorted by what they say.
"""

import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from operator import add

from otelprof.builder import merged
from otelprof.errors import FormatError
from otelprof.formats import wire
from otelprof.formats.dictionary import Dictionary, Layout, Use, used_rows
from otelprof.formats.pprof_reader import KIND, LINK_LABELS, LOST, PRODUCER, decode
from otelprof.model import KINDS, Link, Profile, ValueType

__all__ = ["decode", "encode", "message"]

_LAYOUT = Layout(name=2, filename=4, start_line=5)
_MAPPING_ID = 1
_MAPPING_NAME = "python"
_GZIP_LEVEL = 6
_LABEL_TAGS = bytes([1 << 3, 2 << 3])  # key, str
_LOCATION_TAGS = bytes([1 << 3, 2 << 3])  # id, mapping_id

_Labels = list[tuple[str, str]]


def encode(profiles: Sequence[Profile]) -> bytes:
    """One file with the value types of all `profiles`; the period is that of the first kind.

    Raises:
        FormatError: there is no profile.
    """
    return gzip.compress(message(profiles), compresslevel=_GZIP_LEVEL, mtime=0)


def message(profiles: Sequence[Profile]) -> bytes:
    """What `encode` compresses.

    Raises:
        FormatError: there is no profile.
    """
    if not profiles:
        raise FormatError("pprof: there is no profile to encode")
    order = list(KINDS)
    joined = sorted(
        merged(profiles), key=lambda p: order.index(p.kind) if p.kind in KINDS else len(order)
    )
    types = _types(joined)
    parts = [_part(profile, types) for profile in joined]
    first = joined[0]
    weights = [value_type.type for value_type in types if value_type.type != "samples"]
    default_type = weights[0] if weights else ""
    comments = _comments(joined)
    texts = [_MAPPING_NAME, default_type, *comments]
    texts += [name for value_type in (*types, first.period_type) for name in value_type]
    texts += [
        name
        for part in parts
        for labels in (*part.links.values(), *part.label_sets.values())
        for label in labels
        for name in label
    ]
    dictionary = Dictionary(_LAYOUT, [part.use for part in parts], texts)
    string = dictionary.string
    start_unix_ns = min(p.start_unix_ns for p in joined)
    fields = (
        *(wire.one(1, _value_type(value_type, dictionary)) for value_type in types),
        _samples(parts, dictionary),
        wire.one(3, _mapping(string(_MAPPING_NAME))),
        *wire.delimited(4, _locations(dictionary)),
        *wire.delimited(5, _functions(dictionary)),
        *wire.delimited(6, dictionary.strings),
        wire.integer(9, start_unix_ns),
        wire.integer(10, max(p.start_unix_ns + p.duration_ns for p in joined) - start_unix_ns),
        wire.one(11, _value_type(first.period_type, dictionary)),
        wire.integer(12, first.period),
        wire.numbers(13, map(string, comments)),
        wire.integer(14, string(default_type)),
    )
    return b"".join(fields)


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one profile that say something in this file.

    Attributes:
        values: a column for each value type of the file; None where the profile has none.
        links, label_sets: the labels that rows of these tables become, for those that are used.
    """

    use: Use
    stack: tuple[int, ...]
    link: tuple[int, ...]
    labels: tuple[int, ...]
    values: list[tuple[int, ...] | None]
    links: dict[int, _Labels]
    label_sets: dict[int, _Labels]

    def columns(self) -> list[tuple[int, ...]]:
        """The values, with zeros where the profile has none."""
        nothing = (0,) * len(self.stack)
        return [nothing if column is None else column for column in self.values]


def _types(profiles: Iterable[Profile]) -> dict[ValueType, str]:
    """The value types of the file, and of which kind each of them is."""
    owner: dict[ValueType, str] = {}
    for profile in profiles:
        for value_type in profile.value_types:
            owner.setdefault(value_type, profile.kind)
    return owner


def _part(profile: Profile, types: dict[ValueType, str]) -> _Part:
    columns = dict(zip(profile.value_types, profile.values, strict=True))
    values = [columns.get(t) if owner == profile.kind else None for t, owner in types.items()]
    present = [column for column in values if column is not None]
    stack, link, labels = profile.stack, profile.link, profile.labels
    if all(0 in column for column in present):
        # Rows whose only value is that of a column that another kind owns, or that were counted as nothing.
        says_something = [any(row) for row in zip(*present, strict=True)]
        stack, link, labels = (
            tuple(compress(column, says_something)) for column in (stack, link, labels)
        )
        values = [
            None if column is None else tuple(compress(column, says_something)) for column in values
        ]
    tables = profile.tables
    return _Part(
        use=Use(tables, used_rows(stack, len(tables.stacks))),
        stack=stack,
        link=link,
        labels=labels,
        values=values,
        links={row: _link_labels(tables.links[row]) for row in used_rows(link, len(tables.links))},
        # pprof has no empty label: it would be the number 0.
        label_sets={
            row: [label for label in sorted(tables.labels_of(row).items()) if label[1]]
            for row in used_rows(labels, len(tables.label_sets))
        },
    )


def _link_labels(link: Link) -> _Labels:
    return [(name, value.hex()) for name, value in zip(LINK_LABELS, link, strict=True) if value]


def _samples(parts: Sequence[_Part], dictionary: Dictionary) -> bytes:
    """The samples: rows of several kinds that share stack and labels are one."""
    stacks: list[bytes] = []
    links: list[bytes] = []
    label_sets: list[bytes] = []
    for part in parts:
        stacks += map(dictionary.stacks(part.use).__getitem__, part.stack)
        links += map(_label_fields(part.links, dictionary).__getitem__, part.link)
        label_sets += map(_label_fields(part.label_sets, dictionary).__getitem__, part.labels)
    columns = zip(*(part.columns() for part in parts), strict=True)
    values = tuple(
        column[0] if len(column) == 1 else tuple(chain.from_iterable(column)) for column in columns
    )
    return wire.samples(2, (stacks,), 2, values, (links, label_sets))


def _label_fields(rows: dict[int, _Labels], dictionary: Dictionary) -> dict[int, bytes]:
    """For each row the Label fields of a sample."""
    string = dictionary.string
    pairs = [(string(key), string(value)) for labels in rows.values() for key, value in labels]
    fields = iter(wire.delimited(3, wire.messages(_LABEL_TAGS, pairs)))
    return {row: b"".join(next(fields) for _ in labels) for row, labels in rows.items()}


def _mapping(name: int) -> bytes:
    """One mapping that says that nothing is left to symbolize: functions, filenames and lines are there."""
    flags = b"".join(wire.integer(field, 1) for field in (7, 8, 9))
    return wire.integer(1, _MAPPING_ID) + wire.integer(5, name) + flags


def _locations(dictionary: Dictionary) -> list[bytes]:
    count = len(dictionary.lines)
    heads = wire.messages(_LOCATION_TAGS, [(number, _MAPPING_ID) for number in range(1, count + 1)])
    return list(map(add, heads, wire.delimited(4, dictionary.lines)))


def _functions(dictionary: Dictionary) -> list[bytes]:
    """`system_name` stays empty: where it equals the name, pprof demangles it as C++ and cuts `<module>` out."""
    count = len(dictionary.functions)
    heads = wire.messages(_LOCATION_TAGS[:1], [(number,) for number in range(1, count + 1)])
    return list(map(add, heads, dictionary.functions))


def _value_type(value_type: ValueType, dictionary: Dictionary) -> bytes:
    return wire.integer(1, dictionary.string(value_type.type)) + wire.integer(
        2, dictionary.string(value_type.unit)
    )


def _comments(profiles: Sequence[Profile]) -> list[str]:
    first = profiles[0]
    kinds = [profile.kind for profile in profiles if profile.kind not in KINDS]
    losses: dict[str, int] = {}
    for profile in profiles:
        for reason, count in profile.losses:
            # Kinds of one pass lose the same samples.
            losses[reason] = max(count, losses.get(reason, 0))
    return [
        *(f"{key}={value}" for key, value in sorted(first.resource, key=lambda item: item[0])),
        # Kinds that the reader cannot tell by their value types; those of several would be one.
        *(f"{KIND}={kind}" for kind in kinds if len(kinds) == 1),
        *(f"{PRODUCER}{k}={v}" for k, v in first.producer._asdict().items() if v),
        *(f"{LOST}{reason}={count}" for reason, count in sorted(losses.items()) if count),
    ]
