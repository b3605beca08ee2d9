"""Strings become the UTF-8 that Python itself makes of them, never in half characters."""

import ctypes
import sys
from array import array

import pytest

from tests.native.support import PureC

TYPECODES = {1: "B", 2: "H", 4: "I"}
TEXTS = [
    "",
    "a",
    "plain_function.<locals>.<lambda>",
    "\0in\0side\0",
    "caf\u00e9 \u00ff\u0080",
    "\u07ff\u0800\uffff",
    "\u6f22\u5b57.py",
    "\U00010000\U0010ffff",
    "mixed \u00e9 \u20ac \U0001f40d end",
    "lone \ud800 and \udfff",
    "pair \ud83d\udc0d is two",
    "far \U0001f40d with \udc80",
    "x" * 5_000,
    "\u20ac" * 1_025,
]


def narrowest_kind(text: str) -> int:
    """PEP 393: as wide as the widest character."""
    widest = max(map(ord, text), default=0)
    return 1 if widest < 0x100 else 2 if widest < 0x10000 else 4


def kinds_for(text: str) -> list[int]:
    return [kind for kind in TYPECODES if kind >= narrowest_kind(text)]


def raw(code_points: list[int], kind: int) -> bytes:
    return array(TYPECODES[kind], code_points).tobytes()


def raw_text(text: str, kind: int) -> bytes:
    return raw(list(map(ord, text)), kind)


def utf8_by_python(text: str) -> bytes:
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text).encode()


def longest_that_fits(text: str, capacity: int) -> bytes:
    whole = b""
    for character in text:
        longer = whole + utf8_by_python(character)
        if len(longer) > capacity:
            return whole
        whole = longer
    return whole


@pytest.mark.parametrize("text", TEXTS)
def test_text_of_every_kind_becomes_the_utf8_of_python(pure_c: PureC, text: str) -> None:
    expected = utf8_by_python(text)
    for kind in kinds_for(text):
        found = pure_c.utf8(raw_text(text, kind), len(text), kind, len(expected))
        assert found == (expected, False), kind


@pytest.mark.parametrize("text", [text for text in TEXTS if text])
def test_the_memory_of_a_real_string_is_read(pure_c: PureC, text: str) -> None:
    # The characters and a NUL are the last thing in a string that has no UTF-8 cached (PEP 393).
    fresh = text[:1] + text[1:]
    kind = narrowest_kind(fresh)
    address = id(fresh) + sys.getsizeof(fresh) - (len(fresh) + 1) * kind
    assert ctypes.string_at(address, len(fresh) * kind) == raw_text(text, kind)
    assert pure_c.utf8(address, len(fresh), kind, 10_000) == (utf8_by_python(text), False)


@pytest.mark.parametrize("kind", TYPECODES)
def test_every_code_point_of_a_kind_is_encoded(pure_c: PureC, kind: int) -> None:
    code_points = list(range(min(256**kind, 0x110000)))
    expected = utf8_by_python("".join(map(chr, code_points)))
    found = pure_c.utf8(raw(code_points, kind), len(code_points), kind, len(expected))
    assert found == (expected, False)


@pytest.mark.parametrize("code_point", [0x110000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_what_is_no_code_point_is_replaced(pure_c: PureC, code_point: int) -> None:
    found = pure_c.utf8(raw([0x61, code_point, 0x62], 4), 3, 4, 100)
    assert found == ("a\ufffdb".encode(), False)


@pytest.mark.parametrize("text", [text for text in TEXTS if len(text) < 100])
def test_at_every_capacity_as_many_whole_characters_as_fit_are_written(
    pure_c: PureC, text: str
) -> None:
    size = len(utf8_by_python(text))
    for kind in kinds_for(text):
        characters = raw_text(text, kind)
        for capacity in range(size + 5):
            found = pure_c.utf8(characters, len(text), kind, capacity)
            assert found == (longest_that_fits(text, capacity), capacity < size)


def test_nothing_after_the_character_that_did_not_fit_is_written(pure_c: PureC) -> None:
    assert pure_c.utf8(raw_text("a\u20acb", 2), 3, 2, 3) == (b"a", True)


@pytest.mark.parametrize("kind", TYPECODES)
def test_text_need_not_be_aligned(pure_c: PureC, kind: int) -> None:
    characters = ctypes.create_string_buffer(b"\xff" + raw([0x41, 0xE9, 0x42], kind))
    address = ctypes.addressof(characters) + 1
    assert pure_c.utf8(address, 3, kind, 100) == ("A\u00e9B".encode(), False)


@pytest.mark.parametrize("kind", [0, 3, 5, 8, 0xFFFFFFFF])
def test_of_an_unknown_kind_nothing_is_written(pure_c: PureC, kind: int) -> None:
    assert pure_c.utf8(b"", 3, kind, 100) == (b"", True)
