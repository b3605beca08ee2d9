"""pprof, read: files of our own and of others, and whatever pretends to be one."""

from google.protobuf.message import DecodeError

from otelprof.builder import ProfileBuilder
from otelprof.errors import FormatError
from otelprof.formats import pprof_pb2 as pb
from otelprof.formats.limits import FILE, FREE_BYTES, Limits, check, inflated
from otelprof.formats.validity import checked
from otelprof.formats.wire_reader import Shape, count_fields
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

# What our files say in comments and labels.
KIND = "otelprof.kind"
PRODUCER = "otelprof.producer."
LOST = "otelprof.lost."
LINK_LABELS = ("trace_id", "span_id", "local_root_span_id")

_COUNT_DIGITS = 19  # of a 64-bit number
# sample_type, sample with its labels, mapping, location with its lines, function
_SHAPE: Shape = {1: {}, 2: {3: {}}, 3: {}, 4: {4: {}}, 5: {}}


def decode(blob: bytes, *, limits: Limits = FILE) -> list[Profile]:
    """The profiles in a pprof file, one for each kind of `model.KINDS` that its value types make up.

    Value types that belong to no kind make a profile named after their first, if the file does not name it.

    Raises:
        FormatError: `blob` is not a pprof profile, or holds more than `limits` allow.
    """
    plain = inflated("pprof", blob, limits)
    if len(plain) > FREE_BYTES:
        found = count_fields(plain, _SHAPE, limits.max_fields)
        check("pprof", "fields", found, limits.max_fields)
    message = pb.Profile()
    try:
        message.ParseFromString(plain)
        del plain
        profiles = _Decoder(message, limits).profiles()
    except FormatError:
        raise
    except IndexError as error:
        raise FormatError("pprof: an index points outside its table") from error
    except DecodeError as error:
        raise FormatError("pprof: not a pprof profile") from error
    except ValueError as error:
        raise FormatError(f"pprof: {error}") from error
    return checked("pprof", profiles)


class _Decoder:
    """Reads one message. Raises IndexError and FormatError on whatever does not hold together."""

    def __init__(self, message: pb.Profile, limits: Limits) -> None:
        check("pprof", "samples", len(message.sample), limits.max_samples)
        check("pprof", "strings", len(message.string_table), limits.max_strings)
        self._message = message
        self._limits = limits
        self._frames_read = 0
        self._strings = list(message.string_table)
        if not self._strings or self._strings[0]:
            raise FormatError("pprof: string_table does not start with the empty string")
        self._functions = {function.id: function for function in message.function}
        self._comments = _Comments([self._string(row) for row in dict.fromkeys(message.comment)])

    def profiles(self) -> list[Profile]:
        types = [self._value_type(t) for t in self._message.sample_type]
        for sample in self._message.sample:
            if len(sample.value) != len(types):
                raise FormatError(
                    f"pprof: a sample has {len(sample.value)} values, not {len(types)}"
                )
        return [
            self._profile(kind, types, columns)
            for kind, columns in _kinds_of(types, self._comments.kind)
        ]

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
        frames = {location.id: self._frames(builder, location) for location in message.location}
        for sample in message.sample:
            values = [sample.value[column] for column in columns]
            if not any(values):
                continue
            stack = self._stack(frames, sample)
            if not stack:
                stack.append(builder.frame("(no stack)", "", 0, 0))
            link, labels = self._labels(sample)
            builder.add(builder.stack(stack), builder.link(link), builder.label_set(labels), values)
        period_type = self._value_type(message.period_type)
        return builder.build(
            kind=kind,
            start_unix_ns=message.time_nanos,
            duration_ns=message.duration_nanos,
            period_type=KINDS[kind][1] if kind in KINDS else period_type,
            period=message.period or 1,  # 0 is common where there was no fixed period
            resource=self._comments.resource,
            producer=self._comments.producer,
            losses=self._comments.losses,
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

    def _stack(self, frames: dict[int, list[int]], sample: pb.Sample) -> list[int]:
        stack: list[int] = []
        for number in sample.location_id:
            if number not in frames:
                raise FormatError(f"pprof: location {number} does not exist")
            stack.extend(frames[number])
            if len(stack) > self._limits.max_depth:
                raise FormatError(f"pprof: a stack is deeper than {self._limits.max_depth}")
        self._frames_read += len(stack)
        check("pprof", "frames of stacks", self._frames_read, self._limits.max_frames)
        return stack

    def _labels(self, sample: pb.Sample) -> tuple[Link, dict[str, str]]:
        labels: dict[str, str] = {}
        for label in sample.label:
            key = self._string(label.key)
            value = self._string(label.str) if label.str else str(label.num)
            if key and value:  # without either it says nothing
                labels[key] = value
        trace_id, span_id, root = (
            _id(labels.get(name, ""), size)
            for name, size in zip(
                LINK_LABELS, (TRACE_ID_BYTES, SPAN_ID_BYTES, SPAN_ID_BYTES), strict=True
            )
        )
        if not trace_id or not span_id:
            return NO_LINK, labels
        rest = {key: value for key, value in labels.items() if key not in LINK_LABELS}
        return Link(trace_id, span_id, root), rest


def _id(text: str, size: int) -> bytes:
    """An id in hex; empty if it is none of that many bytes, or all zero."""
    if len(text) != 2 * size:
        return b""
    try:
        number = bytes.fromhex(text)
    except ValueError:
        return b""
    return number if len(number) == size and any(number) else b""


class _Comments:
    """What our files say in comments, `key=value`; comments of others are attributes of the resource."""

    def __init__(self, comments: list[str]) -> None:
        resource: dict[str, str] = {}
        producer: dict[str, str] = {}
        losses: dict[str, int] = {}
        self.kind = ""
        for comment in comments:
            key, equals, value = comment.partition("=")
            if key.startswith(PRODUCER):
                producer[key.removeprefix(PRODUCER)] = value
            elif key.startswith(LOST):
                losses[key.removeprefix(LOST)] = _count(value)
            elif key == KIND:
                self.kind = "" if value in KINDS else value  # those are told by their value types
            elif equals:
                resource[key] = value
        self.resource: Attributes = tuple(resource.items())
        self.producer = Producer(*(producer.get(name, "") for name in Producer._fields))
        self.losses = tuple(losses.items())


def _count(text: str) -> int:
    """A count in a comment of ours; 0 where somebody else wrote it."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < _COUNT_DIGITS else 0


def _kinds_of(types: list[ValueType], other: str) -> list[tuple[str, list[int]]]:
    """Which columns make up which kind: a kind is there if its weight is; its count may be missing.

    What is left is of kind `other`, which may be empty.
    """
    free = dict.fromkeys(range(len(types)))
    kinds: list[tuple[str, list[int]]] = []
    for kind, (count, weight) in KINDS.items():
        wanted = [column for column in free if types[column] in (count, weight)]
        if weight in (types[column] for column in wanted):
            kinds.append((kind, wanted))
            for column in wanted:
                del free[column]
    if free:
        kinds.append((other or types[next(iter(free))].type, list(free)))
    return kinds
