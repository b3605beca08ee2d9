"""Protobuf's wire format, looked at before the generated classes parse it: how much there is, and in which layout.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # wire types
FIXED64_BYTES = 8
_FIXED_BYTES = {FIXED64: FIXED64_BYTES, FIXED32: 4}
_MAX_VARINT_BYTES = 10
_MAX_DEPTH = 100  # what is deeper, the parser refuses

# The fields of a message that are messages, and what those have; strings and numbers are not in it.
Shape: TypeAlias = Mapping[int, "Shape"]


class Field(NamedTuple):
    """One field on the wire; its content is `blob[start:end]`."""

    number: int
    wire_type: int
    start: int
    end: int


def fields(blob: bytes, start: int = 0, end: int | None = None) -> Iterator[Field]:
    """The fields of the message in `blob[start:end]`, as far as they can be read: what follows is for the parser."""
    end = len(blob) if end is None else end
    at = start
    while at < end:
        tag, at = _varint(blob, at, end)
        wire_type = tag & 7
        begin = at
        if wire_type == VARINT:
            _, at = _varint(blob, at, end)
        elif wire_type == LENGTH:
            size, begin = _varint(blob, at, end)
            at = begin + size
        elif wire_type in _FIXED_BYTES:
            at += _FIXED_BYTES[wire_type]
        else:
            return
        if at > end:
            return
        yield Field(tag >> 3, wire_type, begin, at)


def count_fields(blob: bytes, shape: Shape, most: int) -> int:
    """How many fields the messages of `shape` have in `blob`; counting ends beyond `most`. About a microsecond each."""
    return _count(blob, (0, len(blob)), shape, most, _MAX_DEPTH)


def _count(blob: bytes, span: tuple[int, int], shape: Shape, most: int, depth: int) -> int:
    count = 0
    for field in fields(blob, *span):
        count += 1
        if count > most:
            break
        inner = shape.get(field.number)
        if inner is not None and field.wire_type == LENGTH and depth:
            count += _count(blob, (field.start, field.end), inner, most - count, depth - 1)
    return min(count, most + 1)


def count_varints(blob: bytes, field: Field) -> int:
    """How many packed varints are in a field: each ends with a byte below 128."""
    return sum(byte < 0x80 for byte in blob[field.start : field.end])  # noqa: PLR2004 - the bit that says "goes on"


def _varint(blob: bytes, at: int, end: int) -> tuple[int, int]:
    """A varint and where it ends; beyond `end` if it is cut short or too long."""
    value = 0
    for shift, byte in enumerate(blob[at : min(end, at + _MAX_VARINT_BYTES)]):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says "goes on"
            return value, at + shift + 1
    return value, end + 1
