"""One dictionary for several profiles: each row once, none unused, in an order that only the meaning decides.

So profiles that say the same are written as the same bytes, however their tables came about. Rows are
encoded first and sorted as bytes, which is what makes it fast; numbers start from 1, 0 is the null row.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress, pairwise

from otelprof.formats import wire
from otelprof.model import Tables

# Of a Line, the same in pprof and OTLP: function, line, column, all of them varints.
_PLACES = 1  # the field of a pprof Sample and of an OTLP Stack that has their locations
_LINE_TAGS = bytes([1 << 3, 2 << 3, 3 << 3])


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the two formats differ: the numbers of the fields of a Function."""

    name: int
    filename: int
    start_line: int

    def tags(self) -> bytes:
        """The tags of three varints."""
        return bytes(field << 3 for field in (self.name, self.filename, self.start_line))


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """What of a profile's tables is needed: these rows of `tables.stacks`, ascending, without the null row."""

    tables: Tables
    stacks: Sequence[int]

    def places(self) -> Sequence[tuple[int, ...]]:
        """The stacks as rows of `tables.frames`."""
        table = self.tables.stacks
        if len(self.stacks) == len(table) - 1:
            return table[1:]
        return [table[row] for row in self.stacks]


def used_rows(column: tuple[int, ...], size: int) -> list[int]:
    """The rows of a table of `size` rows that a column names, ascending."""
    return list(compress(range(size), wire.used([column], size)))


class Dictionary:
    """The strings, functions, lines and stacks of all `uses`.

    Attributes:
        strings: UTF-8, sorted; the first is empty.
        functions: bodies of Function messages, sorted, without the null row; their numbers start from 1.
        lines: the same of Line messages.

    O(n log n) of strings, functions, frames; O(stacks x depth).
    """

    def __init__(self, layout: Layout, uses: Sequence[Use], texts: Iterable[str]) -> None:
        """`texts` are strings that are needed besides names and filenames. A use may come several times."""
        uses = list({id(use): use for use in uses}.values())
        places = [use.places() for use in uses]
        frames = [
            list(compress(range(size), wire.used(rows, size)))
            for use, rows in zip(uses, places, strict=True)
            for size in (len(use.tables.frames),)
        ]
        functions = [
            sorted({use.tables.frames[row].function for row in rows})
            for use, rows in zip(uses, frames, strict=True)
        ]
        self._number_strings(uses, functions, texts)
        self._number_functions(layout, uses, functions)
        numbers = self._number_frames(uses, frames)
        self._stacks = {
            id(use): _by_row(use, wire.packed(_PLACES, rows, number))
            for use, rows, number in zip(uses, places, numbers, strict=True)
        }

    def string(self, content: str) -> int:
        """The number of a string of `texts` or of a used function."""
        return self._string_numbers[content]

    def stacks(self, use: Use) -> list[bytes]:
        """By row the stacks of one of the uses, as the field `_PLACES`: the numbers of their lines. Empty if not used."""
        return self._stacks[id(use)]

    def _number_strings(
        self, uses: Sequence[Use], functions: list[list[int]], texts: Iterable[str]
    ) -> None:
        contents = {"", *texts}
        for use, rows in zip(uses, functions, strict=True):
            strings = use.tables.strings
            for row in rows:
                name, filename, _ = use.tables.functions[row]
                contents.add(strings[name])
                contents.add(strings[filename])
        self.strings, numbers = wire.ranked(list(map(wire.encoded, contents)))
        # The empty one is the first: row 0.
        rows_from_0 = (number - 1 for number in numbers)
        self._string_numbers = dict(zip(contents, rows_from_0, strict=True))

    def _number_functions(
        self, layout: Layout, uses: Sequence[Use], functions: list[list[int]]
    ) -> None:
        bodies: list[list[bytes]] = []
        string = self._string_numbers
        for use, rows in zip(uses, functions, strict=True):
            strings, table = use.tables.strings, use.tables.functions
            fields = [
                (string[strings[name]], string[strings[filename]], start_line)
                for name, filename, start_line in map(table.__getitem__, rows)
            ]
            bodies.append(wire.messages(layout.tags(), fields))
        self.functions, numbers = _ranked(bodies)
        self._function_numbers = [
            dict(zip(rows, part, strict=True))
            for rows, part in zip(functions, numbers, strict=True)
        ]

    def _number_frames(self, uses: Sequence[Use], frames: list[list[int]]) -> list["array[int]"]:
        """For each use the number of the line of each frame."""
        bodies: list[list[bytes]] = []
        for use, rows, function in zip(uses, frames, self._function_numbers, strict=True):
            table = use.tables.frames
            fields = [
                (function[f], line, column) for f, line, column in map(table.__getitem__, rows)
            ]
            bodies.append(wire.messages(_LINE_TAGS, fields))
        self.lines, numbers = _ranked(bodies)
        of_frames: list[array[int]] = []
        for use, rows, part in zip(uses, frames, numbers, strict=True):
            of_frame = array("Q", bytes(8 * len(use.tables.frames)))
            for row, number in zip(rows, part, strict=True):
                of_frame[row] = number
            of_frames.append(of_frame)
        return of_frames


def _by_row(use: Use, stacks: list[bytes]) -> list[bytes]:
    size = len(use.tables.stacks)
    if len(stacks) == size - 1:
        return [b"", *stacks]
    rows = [b""] * size
    for row, stack in zip(use.stacks, stacks, strict=True):
        rows[row] = stack
    return rows


def _ranked(parts: list[list[bytes]]) -> tuple[list[bytes], list[list[int]]]:
    """The distinct bodies of all parts in order, and for each part the numbers of its own, from 1."""
    bodies, numbers = wire.ranked([body for part in parts for body in part])
    ends = list(accumulate(map(len, parts), initial=0))
    return bodies, [numbers[begin:end] for begin, end in pairwise(ends)]
