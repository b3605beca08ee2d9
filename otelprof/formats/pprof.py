"""pprof: gzip of a protobuf `Profile`, as `go tool pprof`, Pyroscope and Parca read it.

    sample_type   samples/count  cpu/nanoseconds  wall/nanoseconds
    sample        1              10000000         10312000          labels trace_id, span_id, …
                  location ids, leaf first -> location -> line -> function -> string_table

pprof names each value type once in a file, so where two kinds both count `samples`, the first in `KINDS`
keeps its count and the other loses it. The process's resource, the producer and the losses leave as comments,
`key=value`. Labels: `trace_id` (32 hex), `span_id` and `local_root_span_id` (16 hex), `thread_name`.
"""

import gzip
import zlib
from collections.abc import Sequence

from google.protobuf.message import DecodeError

from otelprof.builder import ProfileBuilder, merged
from otelprof.errors import FormatError
from otelprof.formats import pprof_pb2 as pb
from otelprof.formats.text import encodable
from otelprof.model import (
    KINDS,
    NO_LINK,
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    Attributes,
    Link,
    Producer,
    Profile,
    Tables,
    ValueType,
)

MAX_BYTES = 256 * 1024 * 1024  # after inflation, as Pyroscope's own limit
_PRODUCER = "otelprof.producer."
_LOST = "otelprof.lost."
_LINK_LABELS = ("trace_id", "span_id", "local_root_span_id")
_MAPPING_ID = 1
_COUNT_DIGITS = 19  # of a 64-bit number
_GZIP_LEVEL = 6
_GZIP_WBITS = 16 + zlib.MAX_WBITS


def encode(profiles: Sequence[Profile]) -> bytes:
    """One file with the value types of all `profiles`; the period is that of the first kind.

    Equal input gives equal bytes.

    Raises:
        FormatError: there is no profile.
    """
    if not profiles:
        raise FormatError("pprof: there is no profile to encode")
    joined = _joined(profiles)
    message = pb.Profile()
    strings = _Strings(joined.tables.strings)
    for value_type in joined.value_types:
        message.sample_type.add(
            type=strings.row(value_type.type), unit=strings.row(value_type.unit)
        )
    # One mapping that says that nothing is left to symbolize.
    message.mapping.add(
        id=_MAPPING_ID,
        filename=strings.row("python"),
        has_functions=True,
        has_filenames=True,
        has_line_numbers=True,
    )
    _encode_tables(message, joined.tables)
    _encode_samples(message, joined, strings)
    message.time_nanos = joined.start_unix_ns
    message.duration_nanos = joined.duration_ns
    message.period_type.type = strings.row(joined.period_type.type)
    message.period_type.unit = strings.row(joined.period_type.unit)
    message.period = joined.period
    weights = [t.type for t in joined.value_types if t.type != "samples"]
    message.default_sample_type = strings.row(weights[0]) if weights else 0
    message.comment.extend(strings.row(comment) for comment in _comments(joined))
    message.string_table.extend(strings.rows)
    return gzip.compress(message.SerializeToString(), compresslevel=_GZIP_LEVEL, mtime=0)


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
    except (DecodeError, ValueError) as error:
        raise FormatError(f"pprof: {error}") from error
    for profile in profiles:
        problem = profile.problem()
        if problem is not None:
            raise FormatError(f"pprof: {problem}")
    return profiles


def _joined(profiles: Sequence[Profile]) -> Profile:
    """One profile with the columns of all, each value type once; of those shared, the first kind's."""
    order = list(KINDS)
    parts = sorted(
        merged(profiles),
        key=lambda p: order.index(p.kind) if p.kind in KINDS else len(order),
    )
    owner: dict[ValueType, str] = {}
    for profile in parts:
        for value_type in profile.value_types:
            owner.setdefault(value_type, profile.kind)
    rows = {value_type: row for row, value_type in enumerate(owner)}
    builder = ProfileBuilder(owner)
    losses: dict[str, int] = {}
    for profile in parts:
        builder.add_profile(
            profile,
            [rows[t] if owner[t] == profile.kind else -1 for t in profile.value_types],
        )
        for reason, count in profile.losses:
            # Kinds of one pass lose the same samples.
            losses[reason] = max(count, losses.get(reason, 0))
    first = parts[0]
    start_unix_ns = min(p.start_unix_ns for p in parts)
    return builder.build(
        kind=first.kind,
        start_unix_ns=start_unix_ns,
        duration_ns=max(p.start_unix_ns + p.duration_ns for p in parts) - start_unix_ns,
        period_type=first.period_type,
        period=first.period,
        resource=first.resource,
        producer=first.producer,
        losses=losses.items(),
    )


class _Strings:
    """The profile's strings, and after them what pprof needs beside them."""

    def __init__(self, rows: Sequence[str]) -> None:
        self.rows = [encodable(text) for text in rows]
        self._index = {text: row for row, text in enumerate(self.rows)}

    def row(self, text: str) -> int:
        text = encodable(text)
        row = self._index.get(text)
        if row is None:
            row = self._index[text] = len(self.rows)
            self.rows.append(text)
        return row


def _encode_tables(message: pb.Profile, tables: Tables) -> None:
    """Functions and locations: their ids are the row numbers, which start from 1.

    `system_name` stays empty: where it equals the name, pprof demangles it as C++ and cuts `<module>` out.
    """
    for row, function in enumerate(tables.functions[1:], 1):
        message.function.add(
            id=row,
            name=function.name,
            filename=function.filename,
            start_line=function.start_line,
        )
    for row, frame in enumerate(tables.frames[1:], 1):
        location = message.location.add(id=row, mapping_id=_MAPPING_ID)
        location.line.add(function_id=frame.function, line=frame.line)


def _encode_samples(message: pb.Profile, profile: Profile, strings: _Strings) -> None:
    tables = profile.tables
    keys = [strings.row(name) for name in _LINK_LABELS]
    links = [
        [(key, strings.row(value.hex())) for key, value in zip(keys, link, strict=True) if value]
        for link in tables.links
    ]
    for row, values in enumerate(zip(*profile.values, strict=True)):
        sample = message.sample.add(location_id=tables.stacks[profile.stack[row]], value=values)
        for key, value in (*links[profile.link[row]], *tables.label_sets[profile.labels[row]]):
            sample.label.add(key=key, str=value)


def _comments(profile: Profile) -> list[str]:
    producer = profile.producer
    return [
        *(f"{key}={value}" for key, value in profile.resource),
        *(f"{_PRODUCER}{k}={v}" for k, v in producer._asdict().items() if v),
        *(f"{_LOST}{reason}={count}" for reason, count in profile.losses if count),
    ]


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
            start_line, number = max(0, function.start_line), max(0, line.line)
            frames.append(builder.frame(name or filename or "?", filename, start_line, number))
        return frames

    def _labels(self, sample: pb.Sample) -> tuple[Link, dict[str, str]]:
        labels: dict[str, str] = {}
        for label in sample.label:
            labels[self._string(label.key)] = (
                self._string(label.str) if label.str else str(label.num)
            )
        try:
            trace_id, span_id, root = (bytes.fromhex(labels.get(name, "")) for name in _LINK_LABELS)
        except ValueError:
            return NO_LINK, labels
        if len(trace_id) != TRACE_ID_BYTES or len(span_id) != SPAN_ID_BYTES:
            return NO_LINK, labels
        rest = {key: value for key, value in labels.items() if key not in _LINK_LABELS}
        return Link(trace_id, span_id, root if len(root) == SPAN_ID_BYTES else b""), rest

    def _from_comments(self) -> tuple[Attributes, Producer, list[tuple[str, int]]]:
        resource: list[tuple[str, str]] = []
        producer: dict[str, str] = {}
        losses: list[tuple[str, int]] = []
        for row in self._message.comment:
            key, equals, value = self._string(row).partition("=")
            if key.startswith(_PRODUCER):
                producer[key.removeprefix(_PRODUCER)] = value
            elif key.startswith(_LOST):
                losses.append((key.removeprefix(_LOST), _count(value)))
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
