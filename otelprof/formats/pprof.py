"""pprof: gzip of a protobuf `Profile`, as `go tool pprof`, Pyroscope and Parca read it.

    sample_type   samples/count  cpu/nanoseconds  wall/nanoseconds
    sample        1              10000000         10312000          labels trace_id, span_id, …
                  location ids, leaf first -> location -> line -> function -> string_table

pprof names each value type once in a file, so where two kinds both count `samples`, the first in `KINDS`
keeps its count and the other loses it. The process's resource, the producer and the losses leave as comments,
`key=value`. Labels: `trace_id` (32 hex), `span_id` and `local_root_span_id` (16 hex), `thread_name`.
"""

import gzip
from collections.abc import Sequence

from otelprof.builder import ProfileBuilder, merged
from otelprof.errors import FormatError
from otelprof.formats import pprof_pb2 as pb
from otelprof.formats.pprof_reader import LINK_LABELS, LOST, PRODUCER, decode
from otelprof.formats.text import encodable
from otelprof.model import KINDS, Profile, Tables, ValueType

__all__ = ["decode", "encode"]

_MAPPING_ID = 1
_GZIP_LEVEL = 6


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
        location.line.add(function_id=frame.function, line=frame.line, column=frame.column)


def _encode_samples(message: pb.Profile, profile: Profile, strings: _Strings) -> None:
    tables = profile.tables
    keys = [strings.row(name) for name in LINK_LABELS]
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
        *(f"{PRODUCER}{k}={v}" for k, v in producer._asdict().items() if v),
        *(f"{LOST}{reason}={count}" for reason, count in profile.losses if count),
    ]
