"""Where an instruction stands in the source: what `CodeNames` says of it, against CPython's own tables."""

import asyncio
import inspect
import sys
from types import CodeType, ModuleType

import pytest

from otelprof.collectors import names as names_module
from otelprof.collectors.names import CodeNames


def wide(text: str) -> tuple[str, str]:
    """Calls that stand in one line, the second behind a letter of two bytes."""
    return text.strip("é"), text.lower()


CODES = [wide.__code__, inspect.getsourcefile.__code__, asyncio.BaseEventLoop.run_forever.__code__]

# One entry for all instructions, a line further than the first, without columns (Objects/locations.md).
WITHOUT_COLUMNS = wide.__code__.replace(co_linetable=bytes([0x80 | 13 << 3 | 7, 2]) * 20)


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.co_qualname)
def test_lines_and_columns_are_those_of_co_positions(code: CodeType) -> None:
    names = CodeNames()
    for unit, (line, _, column, _) in enumerate(code.co_positions()):
        place = names.place(code, 2 * unit)
        assert place.line == (line or code.co_firstlineno)
        assert place.column == (0 if line is None or column is None else column + 1)


def test_columns_count_bytes_as_cpython_does() -> None:
    names = CodeNames()
    columns = {
        names.place(wide.__code__, 2 * n).column for n in range(len(wide.__code__.co_code) // 2)
    }
    source = inspect.getsource(wide).splitlines()[2].encode()
    assert {source.index(b"text.strip") + 1, source.index(b"text.lower") + 1} <= columns


def test_code_that_was_compiled_without_columns_has_none() -> None:
    place = CodeNames().place(WITHOUT_COLUMNS, 0)
    assert (place.line, place.column) == (WITHOUT_COLUMNS.co_firstlineno + 1, 0)


def test_code_without_lines_is_at_its_first() -> None:
    bare = wide.__code__.replace(co_linetable=b"")
    place = CodeNames().place(bare, 4)
    assert (place.line, place.column) == (bare.co_firstlineno, 0)


def test_a_frame_that_has_not_begun_is_at_its_first_instruction() -> None:
    names = CodeNames()
    assert names.place(wide.__code__, -1) == names.place(wide.__code__, 0)


def test_far_into_long_code_no_column_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names_module, "_MAX_COLUMNS", 2)
    names = CodeNames()
    assert [bool(names.place(wide.__code__, 2 * unit).column) for unit in range(4)] == [
        True,
        True,
        False,
        False,
    ]
    assert names.place(wide.__code__, 6).line > wide.__code__.co_firstlineno


def test_what_only_pretends_to_be_a_module_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    # As cffi's are: no module, but with the class of one, if asked.
    pretender = type("Lib", (), {"__class__": property(lambda _: ModuleType)})()
    assert isinstance(pretender, ModuleType)
    monkeypatch.setitem(sys.modules, "pretender", pretender)
    assert CodeNames().place(wide.__code__, 0).line > 0
