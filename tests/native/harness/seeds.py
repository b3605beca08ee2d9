"""Write real inputs for each fuzz target, from the standard library: `python seeds.py FOLDER`.

A target that needs seeds has a function of its name here; the bytes before the real ones are those that the
first lines of `fuzz_NAME.c` describe. What once was a finding is a seed too.
"""

import ast
import struct
import sys
import sysconfig
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import CodeType

MODULES = ("argparse", "ast", "dataclasses", "datetime", "inspect", "tarfile", "typing")
MAX_SEEDS = 500
MAX_BYTES = 1_000
TEXTS = (
    "",
    "caf\u00e9",
    "\u6f22\u5b57.py",
    "\U0001f40d \u20ac",
    "lone \ud800",
    "\udfff\ud83d\udc0d",
)


def _sources() -> Iterator[bytes]:
    folder = Path(sysconfig.get_path("stdlib"))
    for name in MODULES:
        path = folder / f"{name}.py"
        if path.is_file():
            yield path.read_bytes()


def _codes_in(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes_in(constant)


def location() -> Iterator[bytes]:
    for source in _sources():
        for code in _codes_in(compile(source, "<seed>", "exec", dont_inherit=True)):
            table = code.co_linetable
            header = struct.pack("<iiH", code.co_firstlineno, len(code.co_code) // 2, len(table))
            yield header + table[:MAX_BYTES]


def text() -> Iterator[bytes]:
    names = {
        node.id
        for source in _sources()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Name)
    }
    for written in (*TEXTS, *sorted(names)[:20]):
        for kind, encoding in ((1, "latin-1"), (2, "utf-16-le"), (4, "utf-32-le")):
            errors = "replace" if kind == 1 else "surrogatepass"
            yield struct.pack("<BH", kind, 64) + written.encode(encoding, errors)


def codes() -> Iterator[bytes]:
    # An instruction pointer so far away that the distance to its code overflowed.
    yield b"C\x01\x00\x00\x00\x80\x00\x00\x00\x12\x00"


def walk() -> Iterator[bytes]:
    # The innermost frame cannot be read: a stack of no frames was given as proved.
    yield b"V`%05\x805%*\xff2\x00\xeb"


WRITERS: tuple[Callable[[], Iterator[bytes]], ...] = (location, text, codes, walk)


def main(folder: Path) -> None:
    for writer in WRITERS:
        into = folder / writer.__name__
        into.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(islice(writer(), MAX_SEEDS)):
            (into / f"{number:04}").write_bytes(seed)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
