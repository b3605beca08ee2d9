"""Bytes and texts as they should not be, the same in every run."""

import random
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from otelprof.errors import FormatError
from otelprof.storage.records import HEAD_BYTES

_Decoded = TypeVar("_Decoded")

_TEXT = "0123456789.,=-+_%/: \t\nemshinfaNtrugpcow\x00é٣\U0001f525\udc80"


def mutants(blob: bytes, *, count: int, seed: int) -> Iterator[bytes]:
    """`count` damaged copies of `blob`: bits flipped, bytes set, cut out, doubled, or the end missing."""
    rng = random.Random(seed)
    for _ in range(count):
        mutant = bytearray(blob)
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            at = rng.randrange(len(mutant) or 1)
            match rng.randrange(12):
                case 0 | 1 | 2 | 3 | 4 | 5:
                    mutant[at : at + 1] = bytes(
                        b ^ (1 << rng.randrange(8)) for b in mutant[at : at + 1]
                    )
                case 6 | 7 | 8:
                    mutant[at : at + 1] = bytes([rng.choice([0x00, 0x01, 0x7F, 0x80, 0xFF])])
                case 9:
                    del mutant[at : at + rng.randint(1, 8)]
                case 10:
                    mutant[at:at] = mutant[at : at + rng.randint(1, 16)]
                case _:
                    del mutant[at:]
        yield bytes(mutant)


def sealed(blob: bytes) -> bytes:
    """`blob` with checksums that are right, and no record beyond its end: else no damage would get past them."""
    found, at = bytearray(blob), 0
    while at + HEAD_BYTES <= len(found):
        begin = at + HEAD_BYTES
        length_bytes = min(int.from_bytes(found[at + 4 : at + 8], "little"), len(found) - begin)
        found[at + 4 : at + 8] = length_bytes.to_bytes(4, "little")
        crc = zlib.crc32(found[begin : begin + length_bytes], zlib.crc32(found[at : at + 8]))
        found[at + 8 : begin] = crc.to_bytes(4, "little")
        at = begin + length_bytes
    return bytes(found)


def plant(message: Message, path: str, value: int | bytes | str | None) -> None:
    """Set the field at `path`, as in `sample.0.value`; append to a repeated one; None clears it."""
    *steps, last = path.split(".")
    target: Any = message
    for step in steps:
        target = target[int(step)] if step.isdecimal() else getattr(target, step)
    if value is None:
        target.ClearField(last)
    elif last.isdecimal():
        target[int(last)] = value
    elif hasattr(getattr(target, last), "append"):
        getattr(target, last).append(value)
    else:
        setattr(target, last, value)


def texts(*, count: int, seed: int) -> Iterator[str]:
    """`count` texts of letters that parsers of settings look at."""
    rng = random.Random(seed)
    for _ in range(count):
        yield "".join(rng.choices(_TEXT, k=rng.randint(1, 12)))


class Trial(Generic[_Decoded]):
    """What a decoder made of damaged bytes.

    Attributes:
        decoded: what it returned.
        refused: how often it raised FormatError, as it should.
        leaks: every other exception, in words.
    """

    def __init__(self, decode: Callable[[bytes], list[_Decoded]], blobs: Iterable[bytes]) -> None:
        self.decoded: list[list[_Decoded]] = []
        self.refused = 0
        self.leaks: list[str] = []
        for number, blob in enumerate(blobs):
            try:
                self.decoded.append(decode(blob))
            except FormatError:
                self.refused += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what the test is about
                self.leaks.append(f"mutant {number}: {type(error).__name__}: {error}")
