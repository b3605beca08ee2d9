"""Bytes and texts as they should not be, the same in every run."""

import random
from collections.abc import Callable, Iterable, Iterator

from otelprof.errors import FormatError
from otelprof.model import Profile

_TEXT = "0123456789.,=-+_%/: \t\nemshinfaNtrugpcow\x00é٣\U0001f525\udc80"


def mutants(blob: bytes, *, count: int, seed: int) -> Iterator[bytes]:
    """`count` damaged copies of `blob`: bits flipped, bytes set, cut out, doubled, or the end missing."""
    rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
    for _ in range(count):
        mutant = bytearray(blob)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(mutant) or 1)
            match rng.randrange(6):
                case 0 | 1:
                    mutant[at : at + 1] = bytes(b ^ (1 << rng.randrange(8)) for b in mutant[at : at + 1])
                case 2:
                    mutant[at : at + 1] = bytes([rng.choice([0x00, 0x01, 0x7F, 0x80, 0xFF])])
                case 3:
                    del mutant[at : at + rng.randint(1, 8)]
                case 4:
                    mutant[at:at] = mutant[at : at + rng.randint(1, 16)]
                case _:
                    del mutant[at:]
        yield bytes(mutant)


def texts(*, count: int, seed: int) -> Iterator[str]:
    """`count` texts of letters that parsers of settings look at."""
    rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
    for _ in range(count):
        yield "".join(rng.choices(_TEXT, k=rng.randint(1, 12)))


class Trial:
    """What a decoder made of damaged bytes.

    Attributes:
        decoded: what it returned.
        refused: how often it raised FormatError, as it should.
        leaks: every other exception, in words.
    """

    def __init__(self, decode: Callable[[bytes], list[Profile]], blobs: Iterable[bytes]) -> None:
        self.decoded: list[list[Profile]] = []
        self.refused = 0
        self.leaks: list[str] = []
        for number, blob in enumerate(blobs):
            try:
                self.decoded.append(decode(blob))
            except FormatError:
                self.refused += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what the test is about
                self.leaks.append(f"mutant {number}: {type(error).__name__}: {error}")
