"""OTLP profiles: `ExportProfilesServiceRequest` in the field layout of opentelemetry-proto 1.10.

    dictionary            string, function, location, stack, link, attribute tables; row 0 is zero in each
    resource_profiles     one for each resource and version of the producer
      scope_profiles      one, scope `otelprof`
        profiles          one for each value type: OTLP 1.10 has one `sample_type` a profile
          samples         stack_index, link_index, one value; no timestamps (the shape that every receiver takes)

What a receiver gets is one value type for each kind: CPU as a count of periods, since receivers multiply
it with the period (Pyroscope names it `process_cpu`), anything else as its weight. A profile whose counts are
all 0 does not leave: Parca refuses a request with a profile that has no sample, and all others in it. With `full`
all value types leave, under one `profile_id`, with the sample labels as attributes: that loses nothing, and is
for our own files only, as each sample attribute becomes a series label in Pyroscope.

The numbers are the fields of opentelemetry-proto v1.10.0, opentelemetry/proto/profiles/v1development/profiles.proto.
Profiles that say the same give the same bytes: tables and samples are sorted by what they say.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress, islice

from otelprof.formats import wire
from otelprof.formats.dictionary import Dictionary, Layout, Use, used_rows
from otelprof.formats.otlp_attributes import (
    KIND,
    LOCAL_ROOT,
    LOST,
    PRODUCER,
    AttributeTable,
    Described,
    any_value,
)
from otelprof.formats.otlp_reader import decode
from otelprof.model import KINDS, Attributes, Link, Profile, ValueType
from otelprof.version import __version__

__all__ = ["SCOPE_NAME", "decode", "encode"]

SCOPE_NAME = "otelprof"

_LAYOUT = Layout(name=1, filename=3, start_line=4)
_FRAME_TYPE = (
    "profile.frame.type",
    any_value("cpython"),
)  # semantic conventions, registry `profile`
_STACK_INDEX_TAG = bytes([1 << 3])
_MAPPING, _LOCATION, _FUNCTION, _LINK, _STRING, _ATTRIBUTE, _STACK = range(1, 8)  # the tables


def encode(profiles: Sequence[Profile], *, full: bool = False, root_links: bool = False) -> bytes:
    """One request with all `profiles`; empty if, for receivers, there is nothing in them.

    Args:
        profiles: valid ones.
        full: lose nothing; else one value type for each kind and no sample attributes.
        root_links: link samples to their local root span instead of their own span.
    """
    parts = [
        part for profile in profiles for part in _parts(profile, full=full, root_links=root_links)
    ]
    if not parts and not full:
        return b""
    attributes = {attribute for part in parts for attribute in part.attributes}
    if any(part.stack for part in parts):
        attributes.add(_FRAME_TYPE)
    texts = {key for key, _ in attributes}
    texts |= {
        name
        for part in parts
        for value_type in (part.value_type, part.profile.period_type)
        for name in value_type
    }
    dictionary = Dictionary(_LAYOUT, [part.use for part in parts], texts)
    tables = _Tables(dictionary, AttributeTable(attributes, dictionary.string), parts)
    return tables.request(parts)


@dataclass(frozen=True, slots=True)
class _Part:
    """One value type of one profile: a Profile message.

    Attributes:
        stack, link, labels, values: the rows that leave.
        link_bodies: Link messages of the rows of links that are used; empty for the null row.
        described: the attributes of the profile.
        sample_attributes: of each used pair of labels and link.
        attributes: all of these.
    """

    profile: Profile
    value_type: ValueType
    use: Use
    stack: tuple[int, ...]
    link: tuple[int, ...]
    labels: tuple[int, ...]
    values: tuple[int, ...]
    link_bodies: dict[int, bytes]
    described: list[Described]
    sample_attributes: dict[tuple[int, int], tuple[Described, ...]]
    attributes: set[Described]


def _parts(profile: Profile, *, full: bool, root_links: bool) -> Iterable[_Part]:
    tables = profile.tables
    everything = Use(tables, used_rows(profile.stack, len(tables.stacks)))
    link_bodies = {
        row: _link(tables.links[row], root_links=root_links)
        for row in used_rows(profile.link, len(tables.links))
    }
    described = _described(profile)
    sample_attributes = _sample_attributes(profile) if full else {}
    for column in range(len(profile.value_types)) if full else _exported_columns(profile):
        use, stack = everything, profile.stack
        link, labels, values = profile.link, profile.labels, profile.values[column]
        if not full and 0 in values:
            stack, link, labels = (tuple(compress(c, values)) for c in (stack, link, labels))
            values = tuple(filter(None, values))
            if not values:
                continue
            use = Use(tables, used_rows(stack, len(tables.stacks)))
        yield _Part(
            profile=profile,
            value_type=profile.value_types[column],
            use=use,
            stack=stack,
            link=link,
            labels=labels,
            values=values,
            link_bodies={row: link_bodies[row] for row in used_rows(link, len(tables.links))},
            described=described,
            sample_attributes=sample_attributes,
            attributes={*described, *(a for row in sample_attributes.values() for a in row)},
        )


def _described(profile: Profile) -> list[Described]:
    return [
        (KIND, any_value(profile.kind)),
        *((PRODUCER + k, any_value(v)) for k, v in profile.producer._asdict().items() if v),
        *((LOST + reason, any_value(count)) for reason, count in profile.losses if count),
    ]


def _sample_attributes(profile: Profile) -> dict[tuple[int, int], tuple[Described, ...]]:
    """For each pair of labels and link: the labels, and what a link has no field for."""
    tables = profile.tables
    labels = {
        row: tuple((key, any_value(value)) for key, value in tables.labels_of(row).items())
        for row in set(profile.labels)
    }
    roots = {row: tables.links[row].local_root_span_id for row in set(profile.link)}
    local_roots = {
        row: ((LOCAL_ROOT, any_value(root.hex())),) if root else () for row, root in roots.items()
    }
    return {
        (label_set, link): labels[label_set] + local_roots[link]
        for label_set, link in set(zip(profile.labels, profile.link, strict=True))
    }


def _exported_columns(profile: Profile) -> list[int]:
    """The one value type that receivers get."""
    counts = KINDS["cpu"][0]
    if profile.kind == "cpu" and counts in profile.value_types:
        return [profile.value_types.index(counts)]
    return [len(profile.value_types) - 1]


def _link(link: Link, *, root_links: bool) -> bytes:
    if not link.span_id:
        return b""
    span_id = (link.local_root_span_id if root_links else b"") or link.span_id
    return wire.one(1, link.trace_id) + wire.one(2, span_id)


class _Tables:
    """The dictionary of a request, and the messages that point into it."""

    def __init__(
        self, dictionary: Dictionary, attributes: AttributeTable, parts: Sequence[_Part]
    ) -> None:
        self._dictionary = dictionary
        self._attributes = attributes
        links = {body for part in parts for body in part.link_bodies.values() if body}
        self._links = sorted(links)
        self._link_numbers = {body: number for number, body in enumerate(self._links, 1)}
        uses = {id(part.use): part.use for part in parts}.values()
        # With the null row, the first in order: its number is 1.
        self._stacks, numbers = wire.ranked(
            [b"", *(body for use in uses for body in dictionary.stacks(use))]
        )
        by_number = [b"", *wire.messages(_STACK_INDEX_TAG, list(zip(range(len(self._stacks)))))]
        indices = map(by_number.__getitem__, numbers[1:])
        # For each use, of each of its stacks by row, the field of a sample that names it.
        self._stack_indices = {
            id(use): list(islice(indices, len(dictionary.stacks(use)))) for use in uses
        }

    def request(self, parts: Sequence[_Part]) -> bytes:
        scopes: dict[tuple[bytes, str], list[bytes]] = {}
        for part in parts:
            version = part.profile.producer.version or __version__
            key = (_resource(part.profile.resource), version)
            scopes.setdefault(key, []).append(self._profile(part))
        return b"".join(
            [
                *(
                    wire.one(1, resource + wire.one(2, _scope(version, messages)))
                    for (resource, version), messages in scopes.items()
                ),
                wire.one(2, self._body()),
            ]
        )

    def _body(self) -> bytes:
        null = b""
        tables = {
            _MAPPING: [null],  # Pyroscope looks row 0 up for every location
            _LOCATION: [null, *self._locations()],
            _FUNCTION: [null, *self._dictionary.functions],
            _LINK: [null, *self._links],
            _STRING: self._dictionary.strings,
            _ATTRIBUTE: [null, *self._attributes.bodies],
            _STACK: self._stacks,
        }
        return b"".join(
            row for field, rows in tables.items() for row in wire.delimited(field, rows)
        )

    def _locations(self) -> list[bytes]:
        lines = wire.delimited(3, self._dictionary.lines)
        kind = wire.numbers(4, self._attributes.numbers([_FRAME_TYPE])) if lines else b""
        return [line + kind for line in lines]

    def _profile(self, part: _Part) -> bytes:
        profile = part.profile
        fields = (
            wire.one(1, self._value_type(part.value_type)),
            self._samples(part),
            wire.fixed64(3, profile.start_unix_ns),
            wire.integer(4, profile.duration_ns),
            wire.one(5, self._value_type(profile.period_type)),
            wire.integer(6, profile.period),
            wire.one(7, profile.profile_id) if profile.profile_id else b"",
            wire.numbers(11, self._attributes.numbers(part.described)),
        )
        return b"".join(fields)

    def _value_type(self, value_type: ValueType) -> bytes:
        kind, unit = map(self._dictionary.string, value_type)
        return wire.integer(1, kind) + wire.integer(2, unit)

    def _samples(self, part: _Part) -> bytes:
        """Rows that differ only in what does not leave are one sample: OTLP wants each identity once."""
        stacks = self._stack_indices[id(part.use)]
        links = {
            row: wire.integer(3, self._link_numbers[body]) if body else b""
            for row, body in part.link_bodies.items()
        }
        before = [list(map(stacks.__getitem__, part.stack))]
        if part.sample_attributes:
            attributes = self._sample_attributes(part)
            pairs = zip(part.labels, part.link, strict=True)
            before.append(list(map(attributes.__getitem__, pairs)))
        before.append(list(map(links.__getitem__, part.link)))
        return wire.samples(2, tuple(before), 4, (part.values,), ())

    def _sample_attributes(self, part: _Part) -> dict[tuple[int, int], bytes]:
        """The field of each pair of labels and link."""
        numbers = self._attributes.numbers
        rows = [tuple(numbers(attributes)) for attributes in part.sample_attributes.values()]
        fields = wire.packed(2, rows)
        return {
            pair: field if row else b""
            for pair, row, field in zip(part.sample_attributes, rows, fields, strict=True)
        }


def _resource(attributes: Attributes) -> bytes:
    """The field `resource`; nothing without attributes."""
    body = b"".join(
        wire.one(1, wire.text(1, key) + wire.one(2, any_value(value)))
        for key, value in sorted(attributes, key=lambda item: item[0])
    )
    return wire.one(1, body) if body else b""


def _scope(version: str, profiles: list[bytes]) -> bytes:
    scope = wire.text(1, SCOPE_NAME) + wire.text(2, version)
    return wire.one(1, scope) + b"".join(wire.delimited(2, profiles))
