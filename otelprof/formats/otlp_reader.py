"""OTLP profiles, read: requests of our own and of others, and whatever pretends to be one."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.profiles.v1development import profiles_service_pb2 as service_pb
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.profiles.v1development import profiles_pb2 as pb

from otelprof.builder import ProfileBuilder
from otelprof.errors import FormatError
from otelprof.formats.limits import FILE, FREE_BYTES, Limits, check
from otelprof.formats.otlp_attributes import KIND, LOCAL_ROOT, LOST, PRODUCER
from otelprof.formats.otlp_layout import refuse_old
from otelprof.formats.validity import checked
from otelprof.formats.wire_reader import Shape, count_fields
from otelprof.model import (
    NO_LINK,
    SPAN_ID_BYTES,
    UNKNOWN_PRODUCER,
    Attributes,
    AttributeValue,
    Link,
    Producer,
    Profile,
    ValueType,
)

_Row = TypeVar("_Row")

# An older package would read values as attributes, without an error (otlp_layout.py).
if pb.Sample.DESCRIPTOR.fields_by_name["values"].number != 4:  # noqa: PLR2004 - the number in 1.10
    raise ImportError(
        "otelprof needs opentelemetry-proto >= 1.43: the installed one predates OTLP 1.10"
    )


def _shape() -> Shape:
    """The messages in a request; values nest as deep as they like."""
    value: dict[int, Shape] = {}
    value[5] = {1: value}  # an array
    value[6] = {1: {2: value}}  # keys and values
    attributes: Shape = {2: value}
    profile: Shape = {1: {}, 2: {}, 5: {}}
    resource_profiles: Shape = {1: {1: attributes}, 2: {1: {3: attributes}, 2: profile}}
    dictionary: Shape = {1: {}, 2: {3: {}}, 3: {}, 4: {}, 5: {}, 6: attributes, 7: {}}
    return {1: resource_profiles, 2: dictionary}


_SHAPE = _shape()


def decode(blob: bytes, *, limits: Limits = FILE) -> list[Profile]:
    """The profiles of a request; ours that are columns of one become one again.

    Raises:
        FormatError: `blob` is no such request, in an older layout, an index points outside its table, or it holds
            more than `limits` allow.
    """
    check("OTLP", "bytes", len(blob), limits.max_bytes)
    if len(blob) > FREE_BYTES:
        found = count_fields(blob, _SHAPE, limits.max_fields)
        check("OTLP", "fields", found, limits.max_fields)
    request = service_pb.ExportProfilesServiceRequest()
    try:
        request.ParseFromString(blob)
        refuse_old(blob, request)
        profiles = list(_Reader(request, limits).profiles())
    except FormatError:
        raise
    except (DecodeError, ValueError) as error:
        raise FormatError(f"OTLP: {error}") from error
    return checked("OTLP", profiles)


class _Reader:
    """Reads one request; every index is checked before it is used."""

    def __init__(self, request: service_pb.ExportProfilesServiceRequest, limits: Limits) -> None:
        dictionary = request.dictionary
        check("OTLP", "strings", len(dictionary.string_table), limits.max_strings)
        self._request = request
        self._limits = limits
        self._dictionary = dictionary
        self._strings = list(dictionary.string_table)
        self._attributes_read: dict[int, tuple[str, AttributeValue]] = {}
        self._texts: dict[int, str] = {}
        self._samples_read = 0
        self._frames_read = 0

    def profiles(self) -> Iterator[Profile]:
        count = 0
        for resource_profiles in self._request.resource_profiles:
            attributes = resource_profiles.resource.attributes
            check("OTLP", "resource attributes", len(attributes), self._limits.max_attributes)
            resource = tuple(
                (a.key, _get_value(a.value, self._limits.max_nesting)) for a in attributes
            )
            for scope in resource_profiles.scope_profiles:
                count += len(scope.profiles)
                check("OTLP", "profiles", count, self._limits.max_profiles)
                for group in self._groups(scope):
                    yield _OneProfile(self, group).read(resource)

    def _groups(self, scope: pb.ScopeProfiles) -> list[list[pb.Profile]]:
        """Messages that are columns of one profile of ours: they differ in nothing but their sample type."""
        groups: list[list[pb.Profile]] = []
        open_groups: dict[object, list[pb.Profile]] = {}
        for message in scope.profiles:
            self.count_samples(len(message.samples))
            key = self._key(message)
            group = open_groups.get(key)
            if group is None or message.sample_type in [other.sample_type for other in group]:
                group = list[pb.Profile]()
                groups.append(group)
                if key is not None:
                    open_groups[key] = group
            group.append(message)
        return groups

    def _key(self, message: pb.Profile) -> object:
        """What columns of one profile have in common; None for messages of others, which are profiles each."""
        kind = self.attributes(message.attribute_indices).get(KIND)
        if kind is None:
            return None
        period_type = (message.period_type.type_strindex, message.period_type.unit_strindex)
        window = (message.time_unix_nano, message.duration_nano, message.period)
        return (
            message.profile_id,
            *window,
            *period_type,
            frozenset(message.attribute_indices),
        )

    def count_samples(self, more: int) -> None:
        self._samples_read += more
        check("OTLP", "samples", self._samples_read, self._limits.max_samples)

    def string(self, row: int) -> str:
        return _row("string", self._strings, row)

    def value_type(self, message: pb.ValueType) -> ValueType:
        return ValueType(self.string(message.type_strindex), self.string(message.unit_strindex))

    def attributes(self, indices: Sequence[int]) -> dict[str, AttributeValue]:
        return dict(self._attribute(index) for index in indices)

    def labels(self, indices: Sequence[int]) -> dict[str, str]:
        """Attributes as text."""
        texts: dict[str, str] = {}
        for index in indices:
            key, value = self._attribute(index)
            if index not in self._texts:
                self._texts[index] = str(value)
            texts[key] = self._texts[index]
        texts.pop("", None)  # a label without a key says nothing
        return texts

    def _attribute(self, index: int) -> tuple[str, AttributeValue]:
        """Read once: a large one that many samples name must not cost its size each time."""
        known = self._attributes_read.get(index)
        if known is None:
            row = _row("attribute", self._dictionary.attribute_table, index)
            value = _get_value(row.value, self._limits.max_nesting)
            known = self._attributes_read[index] = (self.string(row.key_strindex), value)
        return known

    def link(self, index: int) -> pb.Link:
        return _row("link", self._dictionary.link_table, index)

    def lines(self, index: int) -> Iterator[tuple[str, str, int, int, int]]:
        """The places of a location, innermost first: several where calls were inlined."""
        location = _row("location", self._dictionary.location_table, index)
        if index and not location.lines:
            yield f"0x{location.address:x}", "", 0, 0, 0
        for line in location.lines:
            function = _row("function", self._dictionary.function_table, line.function_index)
            name, filename = map(self.string, (function.name_strindex, function.filename_strindex))
            if not name and not filename:
                name = "?"
            yield name, filename, function.start_line, line.line, line.column

    def locations(self, stack: int) -> Sequence[int]:
        return _row("stack", self._dictionary.stack_table, stack).location_indices

    def check_depth(self, depth: int) -> None:
        if depth > self._limits.max_depth:
            raise FormatError(f"OTLP: a stack is deeper than {self._limits.max_depth}")

    def count_frames(self, more: int) -> None:
        self._frames_read += more
        check("OTLP", "frames of stacks", self._frames_read, self._limits.max_frames)


class _OneProfile:
    """Reads one profile, of one or several messages; rows of the dictionary when they are first needed."""

    def __init__(self, reader: _Reader, group: list[pb.Profile]) -> None:
        self._reader = reader
        self._group = group
        self._types = [reader.value_type(message.sample_type) for message in group]
        self._builder = ProfileBuilder(self._types)
        self._frames: dict[int, list[int]] = {}
        self._stacks: dict[int, int] = {}
        self._labels: dict[tuple[int, tuple[int, ...]], tuple[int, int]] = {}

    def read(self, resource: Attributes) -> Profile:
        reader, first = self._reader, self._group[0]
        described = reader.attributes(first.attribute_indices)
        for column, message in enumerate(self._group):
            for sample in message.samples:
                values = [0] * len(self._types)
                values[column] = _value(sample)
                link, labels = self._span_and_labels(sample)
                self._builder.add(self._stack(sample.stack_index), link, labels, values)
        return self._builder.build(
            kind=str(described.get(KIND, self._types[0].type)),
            start_unix_ns=first.time_unix_nano,
            duration_ns=first.duration_nano,
            period_type=self._period_type(),
            period=first.period or 1,  # 0 is common where there was no fixed period
            resource=resource,
            profile_id=first.profile_id,
            producer=Producer(*(str(described.get(PRODUCER + f, "")) for f in Producer._fields))
            if any(key.startswith(PRODUCER) for key in described)
            else UNKNOWN_PRODUCER,
            losses=[
                (key.removeprefix(LOST), value)
                for key, value in described.items()
                if key.startswith(LOST) and isinstance(value, int) and not isinstance(value, bool)
            ],
        )

    def _period_type(self) -> ValueType:
        message = self._group[0].period_type
        has_one = message.type_strindex or message.unit_strindex
        return self._reader.value_type(message) if has_one else self._types[-1]

    def _stack(self, index: int) -> int:
        row = self._stacks.get(index)
        if row is None:
            frames: list[int] = []
            for location in self._reader.locations(index):
                frames.extend(self._location(location))
                self._reader.check_depth(len(frames))
            self._reader.count_frames(len(frames))
            if not frames:
                frames.append(self._builder.frame("(no stack)", "", 0, 0))
            row = self._stacks[index] = self._builder.stack(frames)
        return row

    def _location(self, index: int) -> list[int]:
        frames = self._frames.get(index)
        if frames is None:
            frames = [self._builder.frame(*line) for line in self._reader.lines(index)]
            self._reader.count_frames(len(frames))
            self._frames[index] = frames
        return frames

    def _span_and_labels(self, sample: pb.Sample) -> tuple[int, int]:
        """The rows of the link and of the label set."""
        key = (sample.link_index, tuple(sample.attribute_indices))
        rows = self._labels.get(key)
        if rows is None:
            labels = self._reader.labels(key[1])
            root = _span_id(labels.pop(LOCAL_ROOT, ""))
            message = self._reader.link(sample.link_index)
            # Some producers fill the null link with zeros.
            is_linked = any(message.span_id)
            link = Link(message.trace_id, message.span_id, root) if is_linked else NO_LINK
            rows = self._builder.link(link), self._builder.label_set(labels)
            self._labels[key] = rows
        return rows


def _value(sample: pb.Sample) -> int:
    """What a sample counts: its value, or one for each of its timestamps."""
    values, times = sample.values, sample.timestamps_unix_nano
    if times:
        if values and len(values) != len(times):
            raise FormatError(f"OTLP: a sample has {len(values)} values and {len(times)} times")
        return sum(values) if values else len(times)
    if len(values) != 1:
        raise FormatError(f"OTLP: a sample has {len(values)} values, not 1")
    return values[0]


def _span_id(text: str) -> bytes:
    """A span id in hex; empty if there is none.

    Raises:
        ValueError: it is something else.
    """
    if len(text) not in (0, 2 * SPAN_ID_BYTES):
        raise FormatError(f"OTLP: {LOCAL_ROOT} is no span id")
    return bytes.fromhex(text)


def _row(name: str, table: Sequence[_Row], row: int) -> _Row:
    if not 0 <= row < len(table):
        raise FormatError(f"OTLP: {name} {row} is not in its table of {len(table)}")
    return table[row]


def _get_value(message: common_pb2.AnyValue, nesting: int) -> AttributeValue:
    """A value; whatever is in a list, as text."""
    if message.WhichOneof("value") == "array_value":
        return tuple(_text(item, nesting) for item in message.array_value.values)
    return _scalar(message)


def _text(message: common_pb2.AnyValue, nesting: int) -> str:
    if message.WhichOneof("value") != "array_value":
        return str(_scalar(message))
    if not nesting:
        raise FormatError("OTLP: lists are nested too deep")
    # Without quotes: they would double at each level.
    return f"[{', '.join(_text(item, nesting - 1) for item in message.array_value.values)}]"


def _scalar(message: common_pb2.AnyValue) -> bool | int | float | str:
    which = message.WhichOneof("value")
    value = getattr(message, which) if which else ""
    return value if isinstance(value, bool | int | float | str) else str(value)
