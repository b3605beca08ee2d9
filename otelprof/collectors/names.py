"""The names of functions, for all collectors: `module.qualname`, absolute file, line and column."""

import os
import sys
from bisect import bisect_right
from itertools import islice
from types import CodeType, ModuleType
from typing import Any, NamedTuple

# Paths in code objects may be relative to where the program started, which it may leave.
_START_DIRECTORY = os.path.abspath(os.curdir)  # noqa: PTH100 - a Path would be made into text at once

# Of longer code only this many instructions are asked for their columns, since reading up to there takes 3 ms.
_MAX_COLUMNS = 10_000


class CodePlace(NamedTuple):
    """A place in a function, with the names it is shown by. `line` and `column` as in `model.Frame`."""

    function: str
    filename: str
    line: int
    column: int


class CodeNames:
    """Names functions, for all collectors. Made anew for each drain, as modules come and go.

    A code object knows no module: it is the one module of `sys.modules` whose file is the code's. Where
    none or several have that file (code from `exec`; a package's `__main__` imported twice) there is no
    prefix, since any would be a guess.
    """

    def __init__(self) -> None:
        self._modules = _modules_by_file()
        # By id: the caller holds the code objects, whose own hash is slow and equality not identity.
        self._lines: dict[int, tuple[list[int], list[int]]] = {}
        self._names: dict[int, tuple[str, str]] = {}
        self._places: dict[tuple[int, int], CodePlace] = {}

    def place(self, code: CodeType, offset: int) -> CodePlace:
        """The place of the instruction at byte `offset` (`f_lasti`) of `code`."""
        place = self._places.get((id(code), offset))
        if place is None:
            known = self._names.get(id(code))
            if known is None:
                known = self._names[id(code)] = self.name(code.co_filename, code.co_qualname)
            at = max(0, offset)
            line = self._line(code, at)
            place = CodePlace(*known, line or code.co_firstlineno, _column(code, at) if line else 0)
            self._places[id(code), offset] = place
        return place

    def name(self, filename: str, qualname: str) -> tuple[str, str]:
        """The name to show, and the absolute file, of a code object with this file and qualified name."""
        if filename and not filename.startswith("<"):
            filename = os.path.join(_START_DIRECTORY, filename)  # noqa: PTH118 - as above
        module = self._modules.get(filename, "")
        return f"{module}.{qualname}" if module else qualname, filename

    def _line(self, code: CodeType, offset: int) -> int:
        """From 1; 0 where the instruction has none of its own."""
        table = self._lines.get(id(code))
        if table is None:
            starts: list[int] = []
            lines: list[int] = []
            for start, _, line in code.co_lines():
                starts.append(start)
                lines.append(line or 0)
            table = self._lines[id(code)] = (starts, lines)
        starts, lines = table
        row = bisect_right(starts, offset) - 1
        return lines[row] if row >= 0 else 0


def _column(code: CodeType, offset: int) -> int:
    """From 1; 0 where there is none. About 0.2 µs an instruction before it, and no table kept of those."""
    unit = offset // 2
    if unit >= _MAX_COLUMNS:
        return 0
    _, _, column, _ = next(islice(code.co_positions(), unit, None), (None,) * 4)
    return 0 if column is None else column + 1


def _modules_by_file() -> dict[str, str]:
    """The name of the only module that has a file, by that file."""
    modules: dict[str, tuple[str, object]] = {}
    shared: set[str] = set()
    entries: list[tuple[str, Any]] = list(sys.modules.items())  # anything may be put there
    for name, module in entries:
        # Not `module.__file__`: lazy modules import half of the world when asked for an attribute.
        # Nor by `isinstance`: the modules that cffi makes, as cryptography has them, only say that they are one.
        if not issubclass(type(module), ModuleType):
            continue
        file = ModuleType.__getattribute__(module, "__dict__").get("__file__")
        if name == "__main__" and file is None and _script():
            # A script's `__file__` is deleted when the script has ended (CPython, `_PyRun_SimpleFile`),
            # which is before the last flush.
            file = os.path.join(_START_DIRECTORY, _script())  # noqa: PTH118 - as above
        # One module may have two names: `multiprocessing` calls `__main__` also `__mp_main__`.
        if isinstance(file, str) and modules.setdefault(file, (name, module))[1] is not module:
            shared.add(file)
    return {file: name for file, (name, _) in modules.items() if file not in shared}


def _script() -> str:
    """The script that was started; empty if the program has changed `sys.argv` into something else."""
    script: Any = next(iter(getattr(sys, "argv", None) or ()), "")
    return script if type(script) is str else ""
