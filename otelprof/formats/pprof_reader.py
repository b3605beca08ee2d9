"""pprof, read: files of our own and of others, and whatever pretends to be one."""

import zlib

from google.protobuf.message import DecodeError

from otelprof.builder import ProfileBuilder
from otelprof.errors import FormatError
from otelprof.formats import pprof_pb2 as pb
from otelprof.formats.validity import checked
from otelprof.model import (
    KINDS,
    NO_LINK,
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    Attributes,
    Link,
    Producer,
    Profile,
    ValueType,
)

MAX_BYTES = 256 * 1024 * 1024  # after inflation, as Pyroscope's own limit
# What our files say in comments and labels.
PRODUCER = "otelprof.producer."
LOST = "otelprof.lost."
LINK_LABELS = ("trace_id", "span_id", "local_root_span_id")

_COUNT_DIGITS = 19  # of a 64-bit number
_GZIP_WBITS = 16 + zlib.MAX_WBITS


def decode(blob: bytes, *, max_bytes: int = MAX_BYTES) -> list[Profile]:
    """The profiles in a pprof file, one for each kind of `model.KINDS` that its value types make up.

    Value types that belong to no kind make a profile named after their first.

    Raises:
        FormatError: `blob` is not a pprof profile, or inflates to more than `max_bytes`.
    """
    message = pb.Profile()
    try:
        message.ParseFromString(_inflated(blob, max_bytes))
        profiles = _Decoder(message).profiles()
    except FormatError:
        raise
    except IndexError as error:
        raise FormatError("pprof: an index points outside its table") from error
    except DecodeError as error:
        raise FormatError("pprof: not a pprof profile") from error
    except ValueError as error:
        raise FormatError(f"pprof: {error}") from error
    return checked("pprof", profiles)


def _inflated(blob: bytes, max_bytes: int) -> bytes:
    if blob[:2] != b"\x1f\x8b":
        return blob
    inflater = zlib.decompressobj(wbits=_GZIP_WBITS)
    try:
        plain = inflater.decompress(blob, max_bytes + 1)
    except zlib.error as error:
        raise FormatError(f"pprof: not gzip: {error}") from error
    if len(plain) > max_bytes:
        raise FormatError(f"pprof: inflates to more than {max_bytes} bytes")
    if not inflater.eof:
        raise FormatError("pprof: the gzip stream is cut short")
    return plain


class _Decoder:
    """Reads one message. Raises IndexError and FormatError on whatever does not hold together."""

    def __init__(self, message: pb.Profile) -> None:
        self._message = message
        self._strings = list(message.string_table)
        if not self._strings or self._strings[0]:
            raise FormatError("pprof: string_table does not start with the empty string")
        self._functions = {function.id: function for function in message.function}
        self._locations = {location.id: location for location in message.location}

    def profiles(self) -> list[Profile]:
        types = [self._value_type(t) for t in self._message.sample_type]
        for sample in self._message.sample:
            if len(sample.value) != len(types):
                raise FormatError(
                    f"pprof: a sample has {len(sample.value)} values, not {len(types)}"
                )
        return [self._profile(kind, types, columns) for kind, columns in _kinds_of(types)]

    def _string(self, row: int) -> str:
        if row < 0:
            raise FormatError(f"pprof: string {row} does not exist")
        return self._strings[row]

    def _value_type(self, message: pb.ValueType) -> ValueType:
        return ValueType(
            self._string(message.type) or "unknown", self._string(message.unit) or "unknown"
        )

    def _profile(self, kind: str, types: list[ValueType], columns: list[int]) -> Profile:
        message = self._message
        builder = ProfileBuilder(types[column] for column in columns)
        frames = {
            number: self._frames(builder, location) for number, location in self._locations.items()
        }
        for sample in message.sample:
            values = [sample.value[column] for column in columns]
            if not any(values):
                continue
            stack: list[int] = []
            for number in sample.location_id:
                if number not in frames:
                    raise FormatError(f"pprof: location {number} does not exist")
                stack.extend(frames[number])
            if not stack:
                stack.append(builder.frame("(no stack)", "", 0, 0))
            link, labels = self._labels(sample)
            builder.add(builder.stack(stack), builder.link(link), builder.label_set(labels), values)
        resource, producer, losses = self._from_comments()
        period_type = self._value_type(message.period_type)
        return builder.build(
            kind=kind,
            start_unix_ns=message.time_nanos,
            duration_ns=message.duration_nanos,
            period_type=KINDS[kind][1] if kind in KINDS else period_type,
            period=message.period or 1,  # 0 is common where there was no fixed period
            resource=resource,
            producer=producer,
            losses=losses,
        )

    def _frames(self, builder: ProfileBuilder, location: pb.Location) -> list[int]:
        """The frames of a location, innermost first: several where calls were inlined."""
        if not location.line:
            return [builder.frame(f"0x{location.address:x}", "", 0, 0)]
        frames: list[int] = []
        for line in location.line:
            function = self._functions.get(line.function_id)
            if function is None:
                raise FormatError(f"pprof: function {line.function_id} does not exist")
            name, filename = self._string(function.name), self._string(function.filename)
            places = (max(0, n) for n in (function.start_line, line.line, line.column))
            frames.append(builder.frame(name or filename or "?", filename, *places))
        return frames

    def _labels(self, sample: pb.Sample) -> tuple[Link, dict[str, str]]:
        labels: dict[str, str] = {}
        for label in sample.label:
            labels[self._string(label.key)] = (
                self._string(label.str) if label.str else str(label.num)
            )
        try:
            trace_id, span_id, root = (bytes.fromhex(labels.get(name, "")) for name in LINK_LABELS)
        except ValueError:
            return NO_LINK, labels
        if len(trace_id) != TRACE_ID_BYTES or len(span_id) != SPAN_ID_BYTES:
            return NO_LINK, labels
        rest = {key: value for key, value in labels.items() if key not in LINK_LABELS}
        return Link(trace_id, span_id, root if len(root) == SPAN_ID_BYTES else b""), rest

    def _from_comments(self) -> tuple[Attributes, Producer, list[tuple[str, int]]]:
        resource: list[tuple[str, str]] = []
        producer: dict[str, str] = {}
        losses: list[tuple[str, int]] = []
        for row in self._message.comment:
            key, equals, value = self._string(row).partition("=")
            if key.startswith(PRODUCER):
                producer[key.removeprefix(PRODUCER)] = value
            elif key.startswith(LOST):
                losses.append((key.removeprefix(LOST), _count(value)))
            elif equals:
                resource.append((key, value))
        return (
            tuple(dict(resource).items()),
            Producer(*(producer.get(name, "") for name in Producer._fields)),
            losses,
        )


def _count(text: str) -> int:
    """A count in a comment of ours; 0 where somebody else wrote it."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < _COUNT_DIGITS else 0


def _kinds_of(types: list[ValueType]) -> list[tuple[str, list[int]]]:
    """Which columns make up which kind: a kind is there if its weight is; its count may be missing."""
    free = dict.fromkeys(range(len(types)))
    kinds: list[tuple[str, list[int]]] = []
    for kind, (count, weight) in KINDS.items():
        wanted = [column for column in free if types[column] in (count, weight)]
        if weight in (types[column] for column in wanted):
            kinds.append((kind, wanted))
            for column in wanted:
                del free[column]
    if free:
        kinds.append((types[next(iter(free))].type or "unknown", list(free)))
    return kinds
