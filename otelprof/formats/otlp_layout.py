"""Which layout of OTLP a request is in. 1.10 moved the fields of Sample, and no version is on the wire.

    field          1        2                  3                  4              5
    1.8, 1.9       stack    values             attribute indices  link           timestamps
    1.10 and on    stack    attribute indices  link               values         timestamps

Reading one as the other raises no error: values become attributes, a link becomes a value. But lists are
length-delimited and a link is not, so the wire types tell, wherever a sample has more than a stack and timestamps.
Source: opentelemetry-proto v1.9.0 and v1.10.0, opentelemetry/proto/profiles/v1development/profiles.proto.
"""

from collections.abc import Iterator

from opentelemetry.proto.collector.profiles.v1development import profiles_service_pb2 as service_pb

from otelprof.errors import FormatError
from otelprof.formats.wire_reader import FIXED64_BYTES, LENGTH, VARINT, Field, count_varints, fields

# The way to the samples: resource_profiles, scope_profiles, profiles, samples.
_WAY = (1, 2, 2, 2)
_DISPUTED = (2, 3, 4, 5)
_OLD = (
    "OTLP: this is the layout of OTLP 1.9 or older, which puts a sample's values elsewhere; "
    "it must be sent as OTLP 1.10 or newer (opentelemetry-proto 1.43)"
)


def refuse_old(blob: bytes, request: service_pb.ExportProfilesServiceRequest) -> None:
    """Refuse what is not 1.10 for sure.

    Args:
        blob: the request on the wire.
        request: the same, parsed as 1.10.

    Raises:
        FormatError: it is in an older layout, or nothing in it tells.
    """
    # What is read as it was written is in the layout that it was written in, as long as every sample has values:
    # an old link, a single number, is read as a list of values, which takes a byte more.
    if request.ByteSize() == len(blob) and _all_have_values(request):
        return
    is_known = is_open = False
    for sample in _samples(blob):
        if _is(sample, 3, LENGTH) or _is(sample, 4, VARINT) or sample.keys() == {2}:
            raise FormatError(_OLD)
        if _is(sample, 3, VARINT) or _is(sample, 4, LENGTH):
            is_known = True
        elif sample.keys() == {2, 5}:
            # Attributes and timestamps, or, of old, values and timestamps: one for each.
            times = (sample[5].end - sample[5].start) // FIXED64_BYTES
            if count_varints(blob, sample[2]) == times:
                is_open = True
            else:
                is_known = True
    if is_open and not is_known:
        raise FormatError("OTLP: nothing tells whether this is the layout of OTLP 1.9 or of 1.10")


def _is(sample: dict[int, Field], number: int, wire_type: int) -> bool:
    return number in sample and sample[number].wire_type == wire_type


def _all_have_values(request: service_pb.ExportProfilesServiceRequest) -> bool:
    return all(
        sample.values
        for resource in request.resource_profiles
        for scope in resource.scope_profiles
        for profile in scope.profiles
        for sample in profile.samples
    )


def _samples(blob: bytes) -> Iterator[dict[int, Field]]:
    """What the layouts disagree on, of every sample: its fields 2 to 5, of each the last."""
    spans = iter([(0, len(blob))])
    for number in _WAY:
        spans = _inside(blob, spans, number)
    for span in spans:
        yield {field.number: field for field in fields(blob, *span) if field.number in _DISPUTED}


def _inside(
    blob: bytes, spans: Iterator[tuple[int, int]], number: int
) -> Iterator[tuple[int, int]]:
    for span in spans:
        for field in fields(blob, *span):
            if field.number == number and field.wire_type == LENGTH:
                yield field.start, field.end
