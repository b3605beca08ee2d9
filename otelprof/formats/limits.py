"""What a reader takes from a stranger before it refuses: bytes, rows and depth, each with its own limit."""

import zlib
from dataclasses import dataclass

from otelprof.errors import FormatError

_MIB = 1024 * 1024
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WBITS = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one blob may hold. Whatever is beyond makes the reader raise FormatError.

    Attributes:
        max_bytes: after inflation.
        max_ratio: inflated to compressed; looked at beyond `FREE_BYTES`. Real profiles are below 50.
        max_fields: of protobuf messages; an empty one takes 2 bytes on the wire and some 50 when it is parsed.
        max_samples, max_strings: rows.
        max_profiles: in one request, each with tables of its own when it is read.
        max_attributes: of one resource.
        max_depth: frames of one stack, inlined calls counted; CPython's own default is 1,000.
        max_frames: of all stacks together. A location with many lines that many stacks name is large only when read.
        max_nesting: values inside of values.
    """

    max_bytes: int = 64 * _MIB
    max_ratio: int = 200
    max_fields: int = 10_000_000
    max_samples: int = 1_000_000
    max_strings: int = 1_000_000
    max_profiles: int = 1_000
    max_attributes: int = 1_000
    max_depth: int = 4_096
    max_frames: int = 40_000_000
    max_nesting: int = 32


# For files that the user names.
FILE = Limits()
# For what arrives over the network.
RECEIVED = Limits(max_bytes=20 * _MIB, max_fields=3_000_000, max_frames=10_000_000)

FREE_BYTES = 4 * _MIB  # whatever they hold, they are worth no further look


def check(name: str, what: str, count: int, most: int) -> None:
    """Refuse a `count` beyond `most`.

    Raises:
        FormatError: the message names the format, what there is too much of, and the limit.
    """
    if count > most:
        raise FormatError(f"{name}: {count} {what}, more than {most}")


def inflated(name: str, blob: bytes, limits: Limits) -> bytes:
    """`blob` without gzip, if that is around it.

    Raises:
        FormatError: it is no gzip, incomplete, or inflates to too much.
    """
    if blob[:2] != _GZIP_MAGIC:
        check(name, "bytes", len(blob), limits.max_bytes)
        return blob
    most = min(limits.max_bytes, max(FREE_BYTES, limits.max_ratio * len(blob)))
    inflater = zlib.decompressobj(wbits=_GZIP_WBITS)
    try:
        plain = inflater.decompress(blob, most + 1)
    except zlib.error as error:
        raise FormatError(f"{name}: not gzip: {error}") from error
    if len(plain) > most:
        raise FormatError(f"{name}: {len(blob)} bytes inflate to more than {most}")
    if not inflater.eof:
        raise FormatError(f"{name}: the gzip stream is cut short")
    return plain
