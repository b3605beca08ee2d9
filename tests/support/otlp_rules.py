"""The rules that a request with profiles must follow, in the words of OTLP 1.10 and of its checker.

Sources: opentelemetry-proto v1.10.0, profiles.proto; open-telemetry/sig-profiling, profcheck; and for the
last two rules grafana/pyroscope, pkg/ingester/otlp/convert.go.
"""

from collections import Counter
from collections.abc import Iterator

from google.protobuf.message import Message
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)
from opentelemetry.proto.profiles.v1development import profiles_pb2 as pb

_TABLE_OF_FIELD = {
    "stack_index": "stack_table",
    "link_index": "link_table",
    "mapping_index": "mapping_table",
    "function_index": "function_table",
    "location_indices": "location_table",
    "attribute_indices": "attribute_table",
}
_TABLES = sorted({*_TABLE_OF_FIELD.values(), "string_table"})


def violations(blob: bytes, *, orphans: bool = True) -> list[str]:
    """Every rule that the request in `blob` breaks; rows that nothing names only where `orphans` says so."""
    request = ExportProfilesServiceRequest.FromString(blob)
    found = [*_tables(request.dictionary), *_indices(request)]
    if found:  # without sound indices nothing else can be looked up
        return found
    found += [*_rows(request.dictionary), *_attributes(request), *_resources(request)]
    for profile in _profiles(request):
        found += [*_profile(profile), *_samples(profile)]
    return found + (list(_orphans(request)) if orphans else [])


def _tables(dictionary: pb.ProfilesDictionary) -> Iterator[str]:
    for name in _TABLES:
        rows = _encoded(dictionary, name)
        if not rows or rows[0]:
            yield f"{name} does not start with its zero value"
        for row, times in Counter(rows).items():
            if times > 1:
                yield f"{name} has {row!r} {times} times"


def _indices(request: ExportProfilesServiceRequest) -> Iterator[str]:
    sizes = {name: len(_encoded(request.dictionary, name)) for name in _TABLES}
    for name, index in _references(request):
        if not 0 <= index < sizes[name]:
            yield f"{name} has no row {index}"


def _rows(dictionary: pb.ProfilesDictionary) -> Iterator[str]:
    for link in dictionary.link_table[1:]:
        if (len(link.trace_id), len(link.span_id)) != (16, 8):
            yield f"a link has ids of {len(link.trace_id)} and {len(link.span_id)} bytes"
    for function in dictionary.function_table[1:]:
        if not (
            function.name_strindex or function.system_name_strindex or function.filename_strindex
        ):
            yield "a function has neither name nor filename"
        if function.start_line < 0:
            yield f"a function starts at line {function.start_line}"
    for location in dictionary.location_table:
        if any(line.line < 0 or line.column < 0 for line in location.lines):
            yield "a location has a negative line or column"
    for attribute in dictionary.attribute_table[1:]:
        if not attribute.key_strindex or attribute.value.WhichOneof("value") is None:
            yield "an attribute lacks its key or its value"


def _attributes(request: ExportProfilesServiceRequest) -> Iterator[str]:
    table = request.dictionary.attribute_table
    owners: list[pb.Location | pb.Mapping | pb.Profile | pb.Sample] = [
        *request.dictionary.location_table,
        *request.dictionary.mapping_table,
        *_profiles(request),
        *(sample for profile in _profiles(request) for sample in profile.samples),
    ]
    for owner in owners:
        keys = [table[index].key_strindex for index in owner.attribute_indices]
        if len(set(keys)) != len(keys):
            yield f"a {type(owner).__name__} has an attribute key twice"


def _resources(request: ExportProfilesServiceRequest) -> Iterator[str]:
    if not request.resource_profiles:
        yield "there is no resource"
    for resource_profiles in request.resource_profiles:
        attributes = resource_profiles.resource.attributes
        if len({attribute.key for attribute in attributes}) != len(attributes):
            yield "a resource has an attribute key twice"
        if any(not a.key or a.value.WhichOneof("value") is None for a in attributes):
            yield "a resource attribute lacks its key or its value"
        if list(_references(resource_profiles.resource)):
            yield "a resource attribute points into the dictionary, which not every receiver follows"
        if not resource_profiles.scope_profiles:
            yield "a resource has no scope"
        if not all(scope.profiles for scope in resource_profiles.scope_profiles):
            yield "a scope has no profile"


def _profile(profile: pb.Profile) -> Iterator[str]:
    for name in ("sample_type", "period_type"):
        value_type: pb.ValueType = getattr(profile, name)
        if not value_type.type_strindex or not value_type.unit_strindex:
            yield f"a profile lacks its {name}"
    if profile.profile_id and (len(profile.profile_id) != 16 or not any(profile.profile_id)):
        yield f"a profile has the id {profile.profile_id.hex()}"
    if profile.period <= 0:
        yield f"a profile has the period {profile.period}"


def _samples(profile: pb.Profile) -> Iterator[str]:
    identities = Counter(
        (s.stack_index, s.link_index, frozenset(s.attribute_indices)) for s in profile.samples
    )
    if any(times > 1 for times in identities.values()):
        yield "two samples have the same identity"
    for sample in profile.samples:
        if len(sample.values) != 1 or sample.timestamps_unix_nano:
            yield "a sample is something else than one value"
        if not sample.stack_index:
            yield "a sample has no stack"


def _orphans(request: ExportProfilesServiceRequest) -> Iterator[str]:
    found: set[tuple[str, int]] = set()
    fresh = {ref for rp in request.resource_profiles for ref in _references(rp)}
    while fresh:
        found |= fresh
        rows = [getattr(request.dictionary, name)[index] for name, index in fresh]
        fresh = {
            ref for row in rows if isinstance(row, Message) for ref in _references(row)
        } - found
    for name in _TABLES:
        for index in range(1, len(_encoded(request.dictionary, name))):
            if (name, index) not in found:
                yield f"{name} has row {index} that nothing names"


def _profiles(request: ExportProfilesServiceRequest) -> Iterator[pb.Profile]:
    for resource_profiles in request.resource_profiles:
        for scope in resource_profiles.scope_profiles:
            yield from scope.profiles


def _encoded(dictionary: pb.ProfilesDictionary, name: str) -> list[bytes]:
    """The rows of a table as bytes, which are empty for a zero value."""
    rows = getattr(dictionary, name)
    return [row.encode() if isinstance(row, str) else row.SerializeToString() for row in rows]


def _references(message: Message) -> Iterator[tuple[str, int]]:
    """Every index in `message`, and whatever is in it, and the table that it points into."""
    for field, value in message.ListFields():
        table = (
            "string_table" if field.name.endswith("_strindex") else _TABLE_OF_FIELD.get(field.name)
        )
        if table is not None:
            yield from ((table, index) for index in ([value] if isinstance(value, int) else value))
        elif field.message_type is not None:
            for child in [value] if isinstance(value, Message) else value:
                yield from _references(child)
