"""Records: what was written is what is read, or it is said what is wrong."""

from collections.abc import Callable

import pytest

from otelprof.errors import FormatError
from otelprof.storage.records import (
    HEAD_BYTES,
    Kind,
    Record,
    TornError,
    VersionError,
    framed,
    read_records,
)
from tests.support.damage import mutants

RECORDS = [
    Record(Kind.MANIFEST, b'{"service":"shop"}'),
    Record(Kind.SPANS, b""),
    Record(Kind.PROFILES, bytes(range(256)) * 3),
    Record(Kind.DONE, b"otlp http://here"),
]
FRAMES = [framed(Kind(record.kind), record.body) for record in RECORDS]
BLOB = b"".join(FRAMES)


def survivors(blob: bytes) -> tuple[list[Record], type[Exception] | None]:
    """The records that are read before the first error, and that error."""
    read: list[Record] = []
    try:
        read.extend(read_records(blob))
    except FormatError as error:
        return read, type(error)
    return read, None


def test_what_was_written_is_read() -> None:
    assert survivors(BLOB) == (RECORDS, None)
    assert survivors(b"") == ([], None)


def change_last_byte(frame: bytes) -> bytes:
    return frame[:-1] + bytes([frame[-1] ^ 1])


def cut_head(frame: bytes) -> bytes:
    return frame[: HEAD_BYTES - 1]


def flip(at: int) -> Callable[[bytes], bytes]:
    return lambda frame: frame[:at] + bytes([frame[at] ^ 0x10]) + frame[at + 1 :]


@pytest.mark.parametrize("position", range(len(FRAMES)))
@pytest.mark.parametrize(
    ("damage", "error"),
    [
        pytest.param(flip(0), FormatError, id="marker"),
        pytest.param(flip(2), VersionError, id="version"),
        pytest.param(flip(3), FormatError, id="kind"),
        pytest.param(flip(4), FormatError, id="length"),
        pytest.param(flip(7), TornError, id="huge length"),
        pytest.param(flip(8), FormatError, id="checksum"),
        pytest.param(change_last_byte, FormatError, id="last byte"),
        pytest.param(cut_head, TornError, id="torn head"),
    ],
)
def test_damage_is_found_and_what_is_before_it_is_read(
    position: int, damage: Callable[[bytes], bytes], error: type[Exception]
) -> None:
    blob = b"".join([*FRAMES[:position], damage(FRAMES[position])])
    read, found = survivors(blob)
    assert read == RECORDS[:position]
    assert found is not None
    assert issubclass(found, error)


def test_a_torn_tail_leaves_what_is_whole() -> None:
    ends = [sum(map(len, FRAMES[:count])) for count in range(len(FRAMES) + 1)]
    for size in range(len(BLOB)):
        read, error = survivors(BLOB[:size])
        whole = sum(end <= size for end in ends) - 1
        assert read == RECORDS[:whole]
        assert error is (None if size in ends else TornError)


def test_no_damage_is_taken_for_a_record() -> None:
    for mutant in mutants(BLOB, count=5000, seed=5):
        read, _ = survivors(mutant)
        assert all(record in RECORDS for record in read)
