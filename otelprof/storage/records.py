"""Records of a spool file: what kind, how long, and a checksum, before the bytes themselves.

    marker   2 bytes   `oS`
    version  1 byte    of the file's format
    kind     1 byte    see `Kind`
    length   4 bytes   of the body, little endian
    crc      4 bytes   CRC-32 of the eight bytes before and of the body, little endian

A process may be killed in the middle of any write, and a disk may return other bytes than it was given. So
nothing is believed that the checksum does not cover, and nothing is read through mmap, where a file that was
cut short is a SIGBUS.
"""

import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from otelprof.errors import FormatError

VERSION = 1
_MARKER = b"oS"
_HEAD = struct.Struct("<2sBBI")
_CRC = struct.Struct("<I")
HEAD_BYTES = _HEAD.size + _CRC.size


class Kind(IntEnum):
    """What a record is."""

    MANIFEST = 1  # JSON: whose batch this is and who is to get it; the first record, once
    PROFILES = 2  # `formats.otlp.encode(full=True)`
    SPANS = 3  # lines of `formats.spans_jsonl`
    DONE = 4  # UTF-8: a destination that has delivered or refused the batch


class Record(NamedTuple):
    """One record. `kind` is a number since newer versions may have more kinds."""

    kind: int
    body: bytes


class Head(NamedTuple):
    """The beginning of a record, whose body is not read yet."""

    kind: int
    length_bytes: int
    raw: bytes
    crc: int

    def checked(self, body: bytes) -> bytes:
        """The body, if it is the one that was written.

        Raises:
            FormatError: it is not.
        """
        if len(body) != self.length_bytes:
            raise TornError(f"spool: a record of {self.length_bytes} bytes ends after {len(body)}")
        if zlib.crc32(body, zlib.crc32(self.raw)) != self.crc:
            raise FormatError(f"spool: the checksum of a record of kind {self.kind} is wrong")
        return body


class TornError(FormatError):
    """The file ends in the middle of a record: its writer was killed, or the disk was full."""


class VersionError(FormatError):
    """The file was written by another version of otelprof, in a format that this one does not know."""


def framed(kind: Kind, body: bytes) -> bytes:
    """A record as it is written."""
    raw = _HEAD.pack(_MARKER, VERSION, kind, len(body))
    return raw + _CRC.pack(zlib.crc32(body, zlib.crc32(raw))) + body


def read_head(blob: bytes) -> Head:
    """The beginning of a record.

    Raises:
        TornError: there are fewer bytes than it has.
        VersionError: it is of another version.
        FormatError: it is no record.
    """
    if len(blob) < HEAD_BYTES:
        raise TornError(f"spool: a record ends after {len(blob)} bytes")
    marker, version, kind, length_bytes = _HEAD.unpack_from(blob)
    if marker != _MARKER:
        raise FormatError(f"spool: a record begins with {marker!r}, not {_MARKER!r}")
    if version != VERSION:
        raise VersionError(f"spool: version {version} is not {VERSION}")
    return Head(kind, length_bytes, blob[: _HEAD.size], *_CRC.unpack_from(blob, _HEAD.size))


def read_records(blob: bytes) -> Iterator[Record]:
    """The records of a file, in order.

    Raises:
        FormatError: as `read_head` and `Head.checked`, after the records before.
    """
    at = 0
    while at < len(blob):
        head = read_head(blob[at : at + HEAD_BYTES])
        at += HEAD_BYTES
        yield Record(head.kind, head.checked(blob[at : at + head.length_bytes]))
        at += head.length_bytes
