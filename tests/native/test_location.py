"""The decoder of line tables answers as `co_positions()` and `co_lines()`, and survives any bytes."""

import random
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType

import pytest

from tests.native.support import PureC

STDLIB = Path(sysconfig.get_path("stdlib"))
PARTS = (".", "asyncio", "concurrent/futures", "email", "importlib", "json", "unittest")
LAST_SHORT, ONE_LINE_0, NO_COLUMNS, LONG, NONE = 9, 10, 13, 14, 15
INT32_MAX = 2**31 - 1
FIRST_LINE = 100


def codes_in(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes_in(constant)


def codes_of_folder(folder: Path) -> Iterator[CodeType]:
    for path in sorted(folder.glob("*.py")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            module = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        yield from codes_in(module)


def places_by_cpython(code: CodeType) -> list[tuple[int, int]]:
    """One place for each code unit; the lines are those of `co_lines()`."""
    lines = [
        max(line or 0, 0) for start, end, line in code.co_lines() for _ in range(start, end, 2)
    ]
    columns = [0 if column is None else column + 1 for _, _, column, _ in code.co_positions()]
    return list(zip(lines, columns, strict=True))


def places_by_us(pure_c: PureC, code: CodeType) -> list[tuple[int, int]]:
    units = range(0, 2 * sum(1 for _ in code.co_positions()), 2)
    return pure_c.places(code.co_linetable, code.co_firstlineno, units)


def kinds_of(table: bytes) -> set[int]:
    return {byte >> 3 & 15 for byte in table if byte & 0x80}


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x40:
        out.append(0x40 | value & 0x3F)
        value >>= 6
    return bytes([*out, value])


def signed_varint(value: int) -> bytes:
    return varint(-value << 1 | 1 if value < 0 else value << 1)


def first_byte(kind: int, units: int = 1) -> bytes:
    return bytes([0x80 | kind << 3 | units - 1])


def random_entry(kind: int, chance: random.Random) -> bytes:
    """What CPython's compiler might write; Python/assemble.c, `write_location_info_entry`."""
    first = first_byte(kind, chance.randint(1, 8))
    if kind <= LAST_SHORT:
        return first + bytes([chance.randrange(128)])
    if kind < NO_COLUMNS:
        return first + bytes([chance.randrange(128), chance.randrange(128)])
    if kind == NO_COLUMNS:
        return first + signed_varint(chance.randint(-50, 5_000))
    if kind == LONG:
        delta = chance.choice((-70, -1, 0, 3, 31, 32, 2_047, 70_000))
        columns = [chance.choice((0, 1, 63, 64, 4_095, 4_096, 1_000_000)) for _ in range(2)]
        end_line = varint(chance.choice((0, 1, 64)))
        return first + signed_varint(delta) + end_line + b"".join(map(varint, columns))
    return first


def code_with(table: bytes, first_line: int = FIRST_LINE) -> CodeType:
    code = compile("", "<test>", "exec")
    return code.replace(co_linetable=table, co_firstlineno=first_line)


def is_possible(place: tuple[int, int]) -> bool:
    return all(0 <= value <= INT32_MAX for value in place)


@pytest.mark.parametrize("part", PARTS)
def test_every_instruction_of_the_standard_library_is_where_cpython_says(
    pure_c: PureC, part: str
) -> None:
    count = 0
    for code in codes_of_folder(STDLIB / part):
        assert places_by_us(pure_c, code) == places_by_cpython(code), code
        count += 1
    assert count > 10


def test_the_standard_library_has_all_sixteen_kinds_of_entry() -> None:
    kinds: set[int] = set()
    for code in codes_of_folder(STDLIB):
        kinds |= kinds_of(code.co_linetable)
        if len(kinds) == 16:
            return
    pytest.fail(f"only {sorted(kinds)}")


@pytest.mark.parametrize("kind", range(16))
def test_each_kind_of_entry_is_read_as_cpython_reads_it(pure_c: PureC, kind: int) -> None:
    chance = random.Random(kind)
    for _ in range(100):
        kinds = (kind, chance.randrange(16), kind, NO_COLUMNS)
        code = code_with(b"".join(random_entry(each, chance) for each in kinds), 1_000)
        assert places_by_us(pure_c, code) == places_by_cpython(code), code.co_linetable.hex()


def test_long_tables_of_mixed_entries_are_read_as_cpython_reads_them(pure_c: PureC) -> None:
    chance = random.Random(657)
    for _ in range(100):
        entries = [random_entry(chance.randrange(16), chance) for _ in range(200)]
        code = code_with(b"".join(entries), 100_000)
        assert places_by_us(pure_c, code) == places_by_cpython(code), code.co_linetable.hex()


def test_a_frame_that_runs_is_on_the_line_that_it_says_itself(pure_c: PureC) -> None:
    frame = sys._getframe()
    code = frame.f_code
    place = pure_c.place(code.co_linetable, code.co_firstlineno, frame.f_lasti)
    assert place[0] == code.co_firstlineno + 3


def test_a_module_starts_on_no_line(pure_c: PureC) -> None:
    code = compile("x = 1\n", "<test>", "exec")
    assert pure_c.place(code.co_linetable, code.co_firstlineno, 0) == (0, 1)


def test_without_columns_in_the_code_only_lines_are_known(pure_c: PureC) -> None:
    table = first_byte(NO_COLUMNS) + signed_varint(5)
    assert pure_c.place(table, FIRST_LINE, 0) == (105, 0)


def test_an_odd_offset_is_in_the_instruction_that_it_cuts(pure_c: PureC) -> None:
    table = first_byte(ONE_LINE_0 + 1) + b"\x04\x09" + first_byte(NONE)
    assert pure_c.places(table, FIRST_LINE, range(4)) == [(101, 5), (101, 5), (0, 0), (0, 0)]


@pytest.mark.parametrize("offset_bytes", [-(2**31), -2, -1, 4, 5, 1_000, INT32_MAX])
def test_an_offset_outside_the_code_is_unknown(pure_c: PureC, offset_bytes: int) -> None:
    table = first_byte(ONE_LINE_0, units=2) + b"\x04\x09"
    assert pure_c.place(table, FIRST_LINE, offset_bytes) == (0, 0)


def test_an_empty_table_knows_nothing(pure_c: PureC) -> None:
    assert pure_c.places(b"", FIRST_LINE, [0, 2, INT32_MAX]) == [(0, 0)] * 3


def test_a_cut_table_is_right_up_to_the_cut_and_unknown_after_it(pure_c: PureC) -> None:
    code = codes_of_folder(STDLIB / "json")
    for whole in code:
        expected = places_by_us(pure_c, whole)
        units = range(0, 2 * len(expected), 2)
        for size in range(min(len(whole.co_linetable), 60)):
            found = pure_c.places(whole.co_linetable[:size], whole.co_firstlineno, units)
            known = next((i for i, place in enumerate(found) if place != expected[i]), len(found))
            assert set(found[known:]) <= {(0, 0)}


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(b"\x50\x04\x09", id="an entry without its top bit"),
        pytest.param(first_byte(3) + b"\x84", id="a short form cut by the next entry"),
        pytest.param(first_byte(ONE_LINE_0) + b"\x04\x84", id="an end column with a top bit"),
        pytest.param(first_byte(LONG) + b"\x02\x00\x01", id="a long form without its end"),
        pytest.param(first_byte(NO_COLUMNS), id="a line that is not there"),
        pytest.param(first_byte(NO_COLUMNS) + b"\x40" * 9 + b"\x00", id="a number of ten bytes"),
        pytest.param(first_byte(NO_COLUMNS) + b"\x7f" * 5 + b"\x04", id="a number of 33 bits"),
        pytest.param(first_byte(NO_COLUMNS) + b"\x7f" * 5, id="a number without end"),
    ],
)
def test_what_no_compiler_writes_is_unknown(pure_c: PureC, table: bytes) -> None:
    rest = first_byte(ONE_LINE_0, units=8) + b"\x04\x09"
    assert set(pure_c.places(table + rest, FIRST_LINE, range(0, 32, 2))) == {(0, 0)}
    assert pure_c.place(table, FIRST_LINE, 0) == (0, 0)


@pytest.mark.parametrize(
    ("first_line", "deltas", "line"),
    [
        (1, [INT32_MAX - 1], INT32_MAX),
        (1, [INT32_MAX], 0),
        (1, [INT32_MAX, INT32_MAX, -INT32_MAX, -INT32_MAX], 1),
        (1, [-1], 0),
        (1, [-10, 12], 3),
        (-(2**31), [-INT32_MAX, -INT32_MAX], 0),
        (INT32_MAX, [INT32_MAX] * 20, 0),
    ],
)
def test_a_line_that_is_no_positive_int_is_unknown(
    pure_c: PureC, first_line: int, deltas: Sequence[int], line: int
) -> None:
    table = b"".join(first_byte(NO_COLUMNS) + signed_varint(delta) for delta in deltas)
    assert pure_c.place(table, first_line, 2 * (len(deltas) - 1)) == (line, 0)


@pytest.mark.parametrize(
    ("written", "column"), [(0, 0), (1, 1), (INT32_MAX, INT32_MAX), (2**31, 0), (2**32 - 1, 0)]
)
def test_a_column_that_is_no_positive_int_is_unknown(
    pure_c: PureC, written: int, column: int
) -> None:
    table = first_byte(LONG) + signed_varint(2) + varint(0) + varint(written) + varint(0)
    assert pure_c.place(table, FIRST_LINE, 0) == (102, column)


def test_random_bytes_give_possible_places_and_come_to_an_end(pure_c: PureC) -> None:
    chance = random.Random(11)
    for _ in range(2_000):
        table = chance.randbytes(chance.randrange(60))
        first_line = chance.randint(-(2**31), INT32_MAX)
        assert all(map(is_possible, pure_c.places(table, first_line, range(-2, 400, 7))))


def test_a_damaged_real_table_gives_possible_places(pure_c: PureC) -> None:
    chance = random.Random(12)
    for code in codes_of_folder(STDLIB / "json"):
        table = bytearray(code.co_linetable)
        for _ in range(20):
            table[chance.randrange(len(table))] = chance.randrange(256)
            units = range(0, 600, 2)
            assert all(map(is_possible, pure_c.places(bytes(table), code.co_firstlineno, units)))
