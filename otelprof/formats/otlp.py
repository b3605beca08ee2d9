"""OTLP profiles: `ExportProfilesServiceRequest` in the field layout of opentelemetry-proto 1.10.

    dictionary            string, function, location, stack, link, attribute tables; row 0 is zero in each
    resource_profiles     one for each resource
      scope_profiles      one, scope `otelprof`
        profiles          one for each value type: OTLP 1.10 has one `sample_type` a profile
          samples         stack_index, link_index, one value; no timestamps (the shape that every receiver takes)

What a receiver gets is one value type for each kind: CPU as a count of periods, since receivers multiply
it with the period (Pyroscope names it `process_cpu`), anything else as its weight. With `full` all value
types leave, under one `profile_id`, with the sample labels as attributes: that loses nothing, and is for
our own files only, as each sample attribute becomes a series label in Pyroscope.

Source: opentelemetry-proto v1.10.0, opentelemetry/proto/profiles/v1development/profiles.proto.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.profiles.v1development import profiles_service_pb2 as service_pb
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.profiles.v1development import profiles_pb2 as pb

from otelprof.builder import ProfileBuilder
from otelprof.errors import FormatError
from otelprof.formats.text import encodable
from otelprof.formats.validity import checked
from otelprof.model import (
    KINDS,
    UNKNOWN_PRODUCER,
    Attributes,
    AttributeValue,
    Link,
    Producer,
    Profile,
    Tables,
    ValueType,
)
from otelprof.version import __version__

_Row = TypeVar("_Row")

SCOPE_NAME = "otelprof"
_KIND = "otelprof.kind"
_PRODUCER = "otelprof.producer."
_LOST = "otelprof.lost."
_LOCAL_ROOT = "otelprof.local_root_span_id"
_FRAME_TYPE = ("profile.frame.type", "cpython")  # semantic conventions, registry `profile`

# The layout moved between 1.9 and 1.10 without a version on the wire, and reading one as the other
# raises no error, so an older installed package would corrupt every profile in silence.
if pb.Sample.DESCRIPTOR.fields_by_name["values"].number != 4:  # noqa: PLR2004 - the number in 1.10
    raise ImportError(
        "otelprof needs opentelemetry-proto >= 1.43: the installed one predates OTLP 1.10"
    )


def encode(profiles: Sequence[Profile], *, full: bool = False, root_links: bool = False) -> bytes:
    """One request with all `profiles`. Equal input gives equal bytes.

    Args:
        profiles: valid ones.
        full: lose nothing; else one value type for each kind and no sample attributes.
        root_links: link samples to their local root span instead of their own span.
    """
    request = service_pb.ExportProfilesServiceRequest()
    dictionary = _DictionaryWriter(request.dictionary, root_links=root_links)
    scopes: dict[object, pb.ScopeProfiles] = {}
    for profile in profiles:
        # With the types: True, 1 and 1.0 are equal, but not the same attribute.
        key_of_resource = tuple((key, type(value), value) for key, value in profile.resource)
        scope = scopes.get(key_of_resource)
        if scope is None:
            resource_profiles = request.resource_profiles.add()
            for key, value in profile.resource:
                _set_value(
                    resource_profiles.resource.attributes.add(key=encodable(key)).value, value
                )
            scope = scopes[key_of_resource] = resource_profiles.scope_profiles.add()
            scope.scope.name, scope.scope.version = (
                SCOPE_NAME,
                profile.producer.version or __version__,
            )
        _encode_profile(profile, scope, dictionary, full=full)
    return request.SerializeToString(deterministic=True)


def decode(blob: bytes) -> list[Profile]:
    """The profiles of a request; those that share a kind and a profile id are columns of one.

    Raises:
        FormatError: `blob` is no such request, or an index points outside its table.
    """
    request = service_pb.ExportProfilesServiceRequest()
    try:
        request.ParseFromString(blob)
        profiles = list(_Reader(request).profiles())
    except FormatError:
        raise
    except (DecodeError, ValueError) as error:
        raise FormatError(f"OTLP: {error}") from error
    return checked("OTLP", profiles)


def _exported_columns(profile: Profile) -> list[int]:
    """The one value type that receivers get."""
    counts = KINDS["cpu"][0]
    if profile.kind == "cpu" and counts in profile.value_types:
        return [profile.value_types.index(counts)]
    return [len(profile.value_types) - 1]


def _encode_profile(
    profile: Profile,
    scope: pb.ScopeProfiles,
    dictionary: "_DictionaryWriter",
    *,
    full: bool,
) -> None:
    tables = _TablesWriter(dictionary, profile.tables)
    described = [
        (_KIND, profile.kind),
        *((_PRODUCER + key, value) for key, value in profile.producer._asdict().items() if value),
        *((_LOST + reason, count) for reason, count in profile.losses if count),
    ]
    for column in range(len(profile.value_types)) if full else _exported_columns(profile):
        message = scope.profiles.add(
            time_unix_nano=profile.start_unix_ns,
            duration_nano=profile.duration_ns,
            period=profile.period,
            profile_id=profile.profile_id,
            attribute_indices=[dictionary.attribute(key, value) for key, value in described],
        )
        dictionary.set_value_type(message.sample_type, profile.value_types[column])
        dictionary.set_value_type(message.period_type, profile.period_type)
        # Rows that differ only in what does not leave are one sample: OTLP wants each identity once.
        samples: dict[tuple[int, int, tuple[int, ...]], int] = {}
        rows = zip(profile.stack, profile.link, profile.labels, profile.values[column], strict=True)
        for stack, link, labels, value in rows:
            if value or full:
                attributes = tables.attributes(labels, link) if full else ()
                identity = (tables.stack(stack), tables.link(link), attributes)
                samples[identity] = samples.get(identity, 0) + value
        for (stack, link, attributes), value in samples.items():
            message.samples.add(
                stack_index=stack,
                link_index=link,
                attribute_indices=attributes,
                values=(value,),
            )


class _DictionaryWriter:
    """The shared dictionary of a request, with each row once."""

    def __init__(self, message: pb.ProfilesDictionary, *, root_links: bool) -> None:
        self._message = message
        self._root_links = root_links
        self._strings: dict[str, int] = {}
        self._rows: dict[object, int] = {}
        self.string("")
        message.mapping_table.add()  # Pyroscope looks row 0 up for every location
        message.location_table.add()
        message.function_table.add()
        message.link_table.add()
        message.attribute_table.add()
        message.stack_table.add()

    def string(self, text: str) -> int:
        text = encodable(text)
        row = self._strings.get(text)
        if row is None:
            row = self._strings[text] = len(self._message.string_table)
            self._message.string_table.append(text)
        return row

    def attribute(self, key: str, value: AttributeValue) -> int:
        table = self._message.attribute_table
        row = self._rows.setdefault(("attribute", key, type(value), value), len(table))
        if row == len(table):
            message = table.add(key_strindex=self.string(key))
            _set_value(message.value, value)
        return row

    def set_value_type(self, message: pb.ValueType, value_type: ValueType) -> None:
        message.type_strindex = self.string(value_type.type)
        message.unit_strindex = self.string(value_type.unit)

    def function(self, name: int, filename: int, start_line: int) -> int:
        table = self._message.function_table
        row = self._rows.setdefault(("function", name, filename, start_line), len(table))
        if row == len(table):
            table.add(name_strindex=name, filename_strindex=filename, start_line=start_line)
        return row

    def location(self, function: int, line: int, column: int) -> int:
        table = self._message.location_table
        row = self._rows.setdefault(("location", function, line, column), len(table))
        if row == len(table):
            location = table.add(attribute_indices=[self.attribute(*_FRAME_TYPE)])
            location.lines.add(function_index=function, line=line, column=column)
        return row

    def stack(self, locations: tuple[int, ...]) -> int:
        if not locations:
            return 0
        table = self._message.stack_table
        row = self._rows.setdefault(("stack", locations), len(table))
        if row == len(table):
            table.add(location_indices=locations)
        return row

    def link(self, link: Link) -> int:
        if not link.span_id:
            return 0
        table = self._message.link_table
        span_id = (link.local_root_span_id if self._root_links else b"") or link.span_id
        row = self._rows.setdefault(("link", link.trace_id, span_id), len(table))
        if row == len(table):
            table.add(trace_id=link.trace_id, span_id=span_id)
        return row


class _TablesWriter:
    """Puts rows of a profile's tables into the dictionary when a sample first needs them: no orphans."""

    def __init__(self, dictionary: _DictionaryWriter, tables: Tables) -> None:
        self._dictionary = dictionary
        self._tables = tables
        self._locations: dict[int, int] = {}
        self._stacks: dict[int, int] = {}
        self._links: dict[int, int] = {}

    def stack(self, row: int) -> int:
        known = self._stacks.get(row)
        if known is None:
            locations = tuple(self._location(frame) for frame in self._tables.stacks[row])
            known = self._stacks[row] = self._dictionary.stack(locations)
        return known

    def link(self, row: int) -> int:
        known = self._links.get(row)
        if known is None:
            known = self._links[row] = self._dictionary.link(self._tables.links[row])
        return known

    def attributes(self, label_set: int, link: int) -> tuple[int, ...]:
        """The labels of a sample, and what a link has no field for."""
        attribute = self._dictionary.attribute
        rows = [attribute(key, value) for key, value in self._tables.labels_of(label_set).items()]
        root = self._tables.links[link].local_root_span_id
        if root:
            rows.append(attribute(_LOCAL_ROOT, root.hex()))
        return tuple(rows)

    def _location(self, frame: int) -> int:
        known = self._locations.get(frame)
        if known is None:
            function = self._tables.function_of(frame)
            string = self._dictionary.string
            row = self._dictionary.function(
                string(self._tables.strings[function.name]),
                string(self._tables.strings[function.filename]),
                function.start_line,
            )
            _, line, column = self._tables.frames[frame]
            known = self._locations[frame] = self._dictionary.location(row, line, column)
        return known


class _Reader:
    """Reads one request; every index is checked before it is used."""

    def __init__(self, request: service_pb.ExportProfilesServiceRequest) -> None:
        self._request = request
        self._dictionary = request.dictionary

    def profiles(self) -> Iterator[Profile]:
        for resource_profiles in self._request.resource_profiles:
            resource = tuple(
                (a.key, _get_value(a.value)) for a in resource_profiles.resource.attributes
            )
            for scope in resource_profiles.scope_profiles:
                groups: dict[object, list[pb.Profile]] = {}
                for number, message in enumerate(scope.profiles):
                    key = (
                        message.profile_id or number,
                        self._attributes(message).get(_KIND, number),
                    )
                    groups.setdefault(key, []).append(message)
                for group in groups.values():
                    yield self._profile(group, resource)

    def _profile(self, group: list[pb.Profile], resource: Attributes) -> Profile:
        first = group[0]
        described = self._attributes(first)
        types = [self._value_type(message.sample_type) for message in group]
        builder = ProfileBuilder(types)
        for column, message in enumerate(group):
            for sample in message.samples:
                if len(sample.values) != 1:
                    raise FormatError(f"OTLP: a sample has {len(sample.values)} values, not 1")
                values = [0] * len(types)
                values[column] = sample.values[0]
                attributes = {k: str(v) for k, v in self._attributes(sample).items()}
                root = attributes.pop(_LOCAL_ROOT, "")
                link = _row("link", self._dictionary.link_table, sample.link_index)
                is_linked = any(link.span_id)  # some producers fill the null link with zeros
                builder.add(
                    builder.stack(self._frames(builder, sample.stack_index)),
                    builder.link(Link(link.trace_id, link.span_id, bytes.fromhex(root)))
                    if is_linked
                    else 0,
                    builder.label_set(attributes),
                    values,
                )
        return builder.build(
            kind=str(described.get(_KIND, types[0].type)),
            start_unix_ns=first.time_unix_nano,
            duration_ns=first.duration_nano,
            period_type=self._value_type(first.period_type),
            period=first.period,
            resource=resource,
            profile_id=first.profile_id,
            producer=Producer(*(str(described.get(_PRODUCER + f, "")) for f in Producer._fields))
            if any(key.startswith(_PRODUCER) for key in described)
            else UNKNOWN_PRODUCER,
            losses=[
                (key.removeprefix(_LOST), value)
                for key, value in described.items()
                if key.startswith(_LOST) and isinstance(value, int)
            ],
        )

    def _string(self, row: int) -> str:
        return _row("string", self._dictionary.string_table, row)

    def _value_type(self, message: pb.ValueType) -> ValueType:
        return ValueType(self._string(message.type_strindex), self._string(message.unit_strindex))

    def _attributes(self, message: pb.Profile | pb.Sample) -> dict[str, AttributeValue]:
        table = self._dictionary.attribute_table
        rows = [_row("attribute", table, index) for index in message.attribute_indices]
        return {self._string(row.key_strindex): _get_value(row.value) for row in rows}

    def _frames(self, builder: ProfileBuilder, stack: int) -> Iterator[int]:
        for location in _row("stack", self._dictionary.stack_table, stack).location_indices:
            for line in _row("location", self._dictionary.location_table, location).lines:
                function = _row("function", self._dictionary.function_table, line.function_index)
                yield builder.frame(
                    self._string(function.name_strindex),
                    self._string(function.filename_strindex),
                    function.start_line,
                    line.line,
                    line.column,
                )


def _row(name: str, table: Sequence[_Row], row: int) -> _Row:
    if not 0 <= row < len(table):
        raise FormatError(f"OTLP: {name} {row} is not in its table of {len(table)}")
    return table[row]


def _set_value(message: common_pb2.AnyValue, value: AttributeValue) -> None:
    if isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, int):
        message.int_value = value
    elif isinstance(value, float):
        message.double_value = value
    elif isinstance(value, str):
        message.string_value = encodable(value)
    else:
        _set_array(message, value)


def _set_array(message: common_pb2.AnyValue, items: Iterable[str]) -> None:
    message.array_value.SetInParent()
    for item in items:
        message.array_value.values.add(string_value=encodable(item))


def _get_value(message: common_pb2.AnyValue) -> AttributeValue:
    which = message.WhichOneof("value")
    if which == "array_value":
        return tuple(str(_get_value(item)) for item in message.array_value.values)
    value = getattr(message, which) if which else ""
    return value if isinstance(value, bool | int | float | str) else str(value)
