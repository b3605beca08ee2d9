"""Reads protobuf's wire format without protobuf, to prove that fields have the numbers they should.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class Message:
    """The fields of one message by number, in the order in which they were written."""

    def __init__(self, blob: bytes) -> None:
        self.fields: dict[int, list[int | bytes]] = {}
        for number, value in _fields(blob):
            self.fields.setdefault(number, []).append(value)

    def numbers(self, field: int) -> list[int]:
        """A repeated integer, packed or not; 64-bit values are read as signed."""
        numbers: list[int] = []
        for value in self.fields.get(field, []):
            numbers.extend([value] if isinstance(value, int) else _varints(value))
        return [n - (1 << 64) if n >> 63 else n for n in numbers]

    def number(self, field: int) -> int:
        """An integer; 0 if it is not there."""
        return (self.numbers(field) or [0])[-1]

    def blobs(self, field: int) -> list[bytes]:
        """A repeated field of bytes."""
        return [value for value in self.fields.get(field, []) if isinstance(value, bytes)]

    def blob(self, field: int) -> bytes:
        """A field of bytes; empty if it is not there."""
        return (self.blobs(field) or [b""])[-1]

    def texts(self, field: int) -> list[str]:
        """A repeated string."""
        return [value.decode() for value in self.blobs(field)]

    def messages(self, field: int) -> list["Message"]:
        """A repeated message."""
        return [Message(value) for value in self.blobs(field)]

    def message(self, field: int) -> "Message":
        """A message; an empty one if it is not there."""
        return Message(self.blob(field))


def _fields(blob: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(blob):
        tag, at = _varint(blob, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(blob, at)
            yield tag >> 3, value
            continue
        if kind == _LENGTH:
            size, at = _varint(blob, at)
        else:
            size = {_FIXED64: 8, _FIXED32: 4}[kind]
        assert at + size <= len(blob), "a field is longer than its message"
        payload, at = blob[at : at + size], at + size
        yield tag >> 3, payload if kind == _LENGTH else int.from_bytes(payload, "little")


def _varint(blob: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = blob[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _varints(blob: bytes) -> Iterator[int]:
    at = 0
    while at < len(blob):
        value, at = _varint(blob, at)
        yield value
