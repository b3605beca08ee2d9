"""Protobuf's wire format for whole columns, in Python: for where there is no C core.

The functions have the names and bytes of those in `_core`, and the errors but for types, which are not looked at
here; the tests hold one against the other. Source: https://protobuf.dev/programming-guides/encoding/
"""

from array import array
from collections.abc import Iterable
from itertools import repeat
from operator import add

_MAX_UINT64 = 2**64 - 1
_MIN_INT64, _MAX_INT64 = -(2**63), 2**63 - 1
_LAST_OF_ONE_BYTE = 0x7F
_ONE_BYTE = tuple(bytes([number]) for number in range(_LAST_OF_ONE_BYTE + 1))


def varint(number: int) -> bytes:
    """`number`, from -2**63 to 2**64 - 1, in groups of seven bits; negative ones take ten bytes.

    Raises:
        OverflowError: `number` has more than 64 bits.
    """
    if 0 <= number <= _LAST_OF_ONE_BYTE:
        return _ONE_BYTE[number]
    if not _MIN_INT64 <= number <= _MAX_UINT64:
        raise OverflowError(f"{number} has more than 64 bits")
    number &= _MAX_UINT64
    groups = bytearray()
    while number > _LAST_OF_ONE_BYTE:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def packed_rows(
    tag: int, rows: list[tuple[int, ...]], numbers: "array[int] | None", /
) -> list[bytes]:
    """Each row as a field: the byte `tag`, a length, and packed varints.

    With `numbers`, those that it has at the row's items.

    Raises:
        IndexError: an item is no index of `numbers`.
        OverflowError: a number is not one of 64 bits, signed.
    """
    join = b"".join
    if numbers is None:
        return _fields(tag, [join(map(_signed, row)) for row in rows])
    # By key, because a list takes negative indices.
    table = {index: varint(number) for index, number in enumerate(numbers)}
    try:
        return _fields(tag, [join(map(table.__getitem__, row)) for row in rows])
    except KeyError as error:
        raise IndexError(f"{error} is not an index of {len(table)}") from None


def message_rows(tags: bytes, rows: list[tuple[int, ...]], /) -> list[bytes]:
    """Each row as a protobuf message: one byte of `tags` before each item as a varint, zeros left out.

    Raises:
        ValueError: a row has more or fewer items than there are tags.
        OverflowError: as `packed_rows`.
    """
    messages: list[bytes] = []
    for row in rows:
        if len(row) != len(tags):
            raise ValueError(f"a row has {len(row)} fields, not {len(tags)}")
        fields = [
            _ONE_BYTE[tag] + _signed(item) for tag, item in zip(tags, row, strict=True) if item
        ]
        messages.append(b"".join(fields))
    return messages


def mark_rows(rows: list[tuple[int, ...]], mask: bytearray, /) -> None:
    """Set `mask` to 1 at every item of every row.

    Raises:
        IndexError: an item is no index of `mask`.
    """
    distinct: set[int] = set()
    for row in rows:
        distinct.update(row)
    for index in distinct:
        if not 0 <= index < len(mask):
            raise IndexError(f"{index} is not an index of {len(mask)}")
        mask[index] = 1


def ranked_rows(bodies: list[bytes], /) -> tuple[list[bytes], list[int]]:
    """The distinct bodies in order, and of each body the number among them, from 1."""
    distinct = sorted(set(bodies))
    number = {body: row for row, body in enumerate(distinct, 1)}
    return distinct, [number[body] for body in bodies]


def sample_rows(
    tag: int,
    before: tuple[list[bytes], ...],
    value_tag: int,
    values: tuple[tuple[int, ...], ...],
    after: tuple[list[bytes], ...],
    /,
) -> bytes:
    """Each row as a message, a field with the byte `tag`: what `before` has, values, what `after` has.

    The values are a field of packed varints with the byte `value_tag`, their sums where several rows have the same
    before and after. Sorted by what is before and after.

    Raises:
        ValueError: the columns differ in length.
        OverflowError: a value or a sum is not one of 64 bits, signed.
    """
    sums: dict[bytes, tuple[bytes, tuple[int, ...], bytes]] = {}
    count = len(values[0]) if values else 0
    rows = zip(
        _joined(before, count), zip(*values, strict=True), _joined(after, count), strict=True
    )
    for head, row, tail in rows:
        known = sums.get(head + tail)
        total = row if known is None else tuple(map(add, known[1], row))
        sums[head + tail] = head, total, tail
    ordered = [sums[key] for key in sorted(sums)]
    fields = packed_rows(value_tag, [total for _, total, _ in ordered], None)
    bodies = [head + field + tail for (head, _, tail), field in zip(ordered, fields, strict=True)]
    return b"".join(_fields(tag, bodies))


def _joined(columns: tuple[list[bytes], ...], count: int) -> Iterable[bytes]:
    return map(b"".join, zip(*columns, strict=True)) if columns else repeat(b"", count)


def _fields(tag: int, bodies: list[bytes]) -> list[bytes]:
    head = {size: bytes([tag]) + varint(size) for size in set(map(len, bodies))}
    return [head[len(body)] + body for body in bodies]


def _signed(number: int) -> bytes:
    if number > _MAX_INT64:
        raise OverflowError(f"{number} has more than 64 bits, signed")
    return varint(number)
