r"""Collapsed stacks, as flamegraph.pl, inferno and speedscope read them: a stack and its value on each line.

    app.main;app.orders.Order.place;app.db.query 31000000

Root first, sorted, each stack once. Frames are parted by semicolons, lines by newlines, the value by the last space,
so semicolons and control characters in a name are written as Python escapes them: `\x3b`, `\n`.

Source: brendangregg/FlameGraph, flamegraph.pl and its README.
"""

import re
from collections.abc import Sequence

from otelprof.formats.text import encodable, name_shown
from otelprof.formats.values import value_named
from otelprof.model import Profile, Tables

# Semicolons, C0, DEL, C1, and what else some readers take for the end of a line.
_RESERVED = re.compile("[;\x00-\x1f\x7f-\x9f\u2028\u2029]")


def encode(profiles: Sequence[Profile], *, value: str = "", lines: bool = False) -> bytes:
    """The stacks of one value of `profiles`; nothing if there are no samples. Equal meaning gives equal bytes.

    Args:
        profiles: valid ones; those of a kind are added up.
        value: `cpu`, `wall`, `cpu/samples`, …; empty for the weight of the first kind.
        lines: with file and line on each frame, `name (file:line)`; else the functions only.

    Raises:
        FormatError: there is no profile, or none has that value.
    """
    sums: dict[str, int] = {}
    for chosen in value_named("collapsed", profiles, value):
        tables = chosen.profile.tables
        frames = [_text(tables, frame, lines=lines) for frame in range(len(tables.frames))]
        stacks = [";".join(frames[f] for f in reversed(stack)) for stack in tables.stacks]
        for row, number in zip(chosen.profile.stack, chosen.numbers, strict=True):
            if number:
                sums[stacks[row]] = sums.get(stacks[row], 0) + number
    return "".join(f"{stack} {number}\n" for stack, number in sorted(sums.items())).encode()


def _text(tables: Tables, frame: int, *, lines: bool) -> str:
    name = name_shown(tables, frame)
    filename = tables.strings[tables.function_of(frame).filename]
    if lines and filename:
        name = f"{name} ({filename}:{tables.frames[frame].line})"
    return _RESERVED.sub(_escaped, encodable(name))


def _escaped(match: "re.Match[str]") -> str:
    character = match[0]
    return r"\x3b" if character == ";" else character.encode("unicode_escape").decode()
