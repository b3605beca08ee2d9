"""Protobuf messages, written field by field: the C core does the columns, or its twin in Python.

Proto3 leaves zeros out, packs repeated integers and, as its own writers do, puts fields in the order of their
numbers; so these bytes are the ones that the generated classes would write. The tests prove it.
"""

from array import array
from collections.abc import Iterable, Sequence
from typing import Protocol

from otelprof.formats import packing
from otelprof.formats.packing import varint
from otelprof.formats.text import encodable
from otelprof.native import why_not

__all__ = [
    "delimited",
    "encoded",
    "fixed64",
    "integer",
    "messages",
    "numbers",
    "one",
    "packed",
    "ranked",
    "samples",
    "text",
    "used",
    "varint",
]

_VARINT, _FIXED64, _LENGTH = 0, 1, 2  # wire types
_FIXED64_BYTES = 8
# Rows for one call into C, which holds the GIL: of depth 128 they take about a millisecond.
_ROWS_AT_ONCE = 4096

Row = tuple[int, ...]


class _Columns(Protocol):
    """What `_core` and `packing` both have; the contract is in _core.pyi."""

    def packed_rows(
        self, tag: int, rows: list[Row], numbers: "array[int] | None", /
    ) -> list[bytes]: ...
    def message_rows(self, tags: bytes, rows: list[Row], /) -> list[bytes]: ...
    def mark_rows(self, rows: list[Row], mask: bytearray, /) -> None: ...
    def ranked_rows(self, bodies: list[bytes], /) -> tuple[list[bytes], list[int]]: ...
    def sample_rows(
        self,
        tag: int,
        before: tuple[list[bytes], ...],
        value_tag: int,
        values: tuple[Row, ...],
        after: tuple[list[bytes], ...],
        /,
    ) -> bytes: ...


def _columns() -> _Columns:
    if why_not():
        return packing
    from otelprof import _core  # noqa: PLC0415 - only where there is one

    return _core


_writer = _columns()


def packed(field: int, rows: Sequence[Row], numbers: "array[int] | None" = None) -> list[bytes]:
    """Each row as field number `field` of packed varints, also an empty one.

    With `numbers`, an array of `Q`, those that it has at the row's items.
    """
    tag = field << 3 | _LENGTH
    bodies: list[bytes] = []
    for part in _parts(rows):
        bodies += _writer.packed_rows(tag, part, numbers)
    return bodies


def messages(tags: bytes, rows: Sequence[Row]) -> list[bytes]:
    """Each row as a message of integers whose fields have the tags `tags`; zeros are left out."""
    bodies: list[bytes] = []
    for part in _parts(rows):
        bodies += _writer.message_rows(tags, part)
    return bodies


def used(rows: Sequence[Row], size: int) -> bytearray:
    """For each number below `size`, whether it is in any row."""
    mask = bytearray(size)
    for part in _parts(rows):
        _writer.mark_rows(part, mask)
    return mask


def _parts(rows: Sequence[Row]) -> Iterable[list[Row]]:
    return (list(rows[at : at + _ROWS_AT_ONCE]) for at in range(0, len(rows), _ROWS_AT_ONCE))


def ranked(bodies: list[bytes]) -> tuple[list[bytes], list[int]]:
    """The distinct bodies in order, and of each body the number among them, from 1."""
    return _writer.ranked_rows(bodies)


def samples(
    field: int,
    before: tuple[list[bytes], ...],
    value_field: int,
    values: tuple[Row, ...],
    after: tuple[list[bytes], ...],
) -> bytes:
    """Each row as a message, field number `field`: what `before` has, its values packed, what `after` has.

    Rows with the same before and after are added up. Sorted by what is before and after.
    """
    tag, value_tag = field << 3 | _LENGTH, value_field << 3 | _LENGTH
    return _writer.sample_rows(tag, before, value_tag, values, after)


def delimited(field: int, bodies: Sequence[bytes]) -> list[bytes]:
    """Each body as field number `field`: a message, a string, bytes or packed integers; empty ones as well."""
    tag = varint(field << 3 | _LENGTH)
    head = {size: tag + varint(size) for size in set(map(len, bodies))}
    return [head[len(body)] + body for body in bodies]


def one(field: int, body: bytes) -> bytes:
    """One message, string or bytes as field number `field`, also an empty one."""
    return varint(field << 3 | _LENGTH) + varint(len(body)) + body


def text(field: int, content: str) -> bytes:
    """A string; nothing if it is empty."""
    return one(field, encoded(content)) if content else b""


def integer(field: int, value: int) -> bytes:
    """An integer; nothing if it is zero."""
    return varint(field << 3 | _VARINT) + varint(value) if value else b""


def fixed64(field: int, value: int) -> bytes:
    """An unsigned integer of eight bytes; nothing if it is zero."""
    if not value:
        return b""
    return varint(field << 3 | _FIXED64) + value.to_bytes(_FIXED64_BYTES, "little")


def numbers(field: int, values: Iterable[int]) -> bytes:
    """Repeated integers, packed; nothing if there are none."""
    body = b"".join(map(varint, values))
    return one(field, body) if body else b""


def encoded(content: str) -> bytes:
    """UTF-8; whatever `content` holds can be written."""
    return encodable(content).encode()
