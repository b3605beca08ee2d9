"""Reads and writes protobuf's wire format without protobuf, to prove that fields have the numbers they should.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator

_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
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


def status_with_retry(code: int, retry_s: int) -> bytes:
    """A `google.rpc.Status` with a RetryInfo, written by hand: its package is no dependency of ours.

    status.proto: code = 1, details = 3 (Any: type_url = 1, value = 2); error_details.proto: RetryInfo.retry_delay
    = 1; duration.proto: seconds = 1.
    """
    packed = _bytes(1, _RETRY_INFO.encode()) + _bytes(2, _bytes(1, _number(1, retry_s)))
    return _number(1, code) + _bytes(3, packed)


def _number(field: int, value: int) -> bytes:
    assert 0 <= value < 0x80
    return bytes([field << 3, value])


def _bytes(field: int, blob: bytes) -> bytes:
    assert len(blob) < 0x80
    return bytes([field << 3 | 2, len(blob)]) + blob
