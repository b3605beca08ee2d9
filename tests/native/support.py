"""The parts of the C core that need no Python, as a library of their own that ctypes can call.

The extension module has no functions for them: production calls them from C only.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

NATIVE = Path(__file__).parents[2] / "otelprof" / "_native"
SOURCES = ("location.c", "text.c")
_FLAGS = (
    "-std=c11",
    "-O1",
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wconversion",
    "-Wshadow",
    "-Werror",
)
_GUARD = b"\xa5" * 8


def compiler() -> str | None:
    """The C compiler, `CC` if it is set."""
    names = (os.environ["CC"],) if "CC" in os.environ else ("cc", "gcc", "clang")
    return next(filter(None, map(shutil.which, names)), None)


def build(program: str, folder: Path) -> "PureC":
    """Compile `SOURCES` into `folder` and load them."""
    library = folder / "pure.so"
    sources = [str(NATIVE / name) for name in SOURCES]
    command = [program, *_FLAGS, "-shared", "-fPIC", "-o", str(library), *sources]
    subprocess.run(command, check=True, timeout=60)
    return PureC(library)


class PureC:
    """The functions, with Python's types."""

    def __init__(self, library: Path) -> None:
        functions = ctypes.CDLL(str(library))
        self._find = functions.op_location_find
        self._find.restype = None
        int32_out = ctypes.POINTER(ctypes.c_int32)
        self._find.argtypes = (
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int32, ctypes.c_int32),
            *(int32_out, int32_out),
        )
        self._to_utf8 = functions.op_text_to_utf8
        self._to_utf8.restype = ctypes.c_size_t
        self._to_utf8.argtypes = (
            *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint),
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_bool)),
        )

    def places(
        self, table: bytes, first_line: int, offsets_bytes: Sequence[int]
    ) -> list[tuple[int, int]]:
        """Line and column at each offset."""
        line, column = ctypes.c_int32(-1), ctypes.c_int32(-1)
        into = ctypes.byref(line), ctypes.byref(column)
        found: list[tuple[int, int]] = []
        for offset in offsets_bytes:
            self._find(table, len(table), first_line, offset, *into)
            found.append((line.value, column.value))
        return found

    def place(self, table: bytes, first_line: int, offset_bytes: int) -> tuple[int, int]:
        """Line and column at one offset."""
        return self.places(table, first_line, [offset_bytes])[0]

    def utf8(
        self, text: bytes | int, length_chars: int, kind: int, capacity: int
    ) -> tuple[bytes, bool]:
        """What was encoded of `text` (the bytes, or their address), and whether it was cut."""
        out = ctypes.create_string_buffer(bytes(capacity) + _GUARD, capacity + len(_GUARD))
        is_cut = ctypes.c_bool()
        written = self._to_utf8(text, length_chars, kind, out, capacity, ctypes.byref(is_cut))
        assert written <= capacity
        assert out.raw[capacity:] == _GUARD
        return out.raw[:written], is_cut.value
