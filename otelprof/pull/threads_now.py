"""What each thread does at this moment, as a profile in which each thread counts once, or as text."""

import sys
import threading
import time
from collections.abc import Set as AbstractSet
from types import CodeType, FrameType
from typing import NamedTuple

from otelprof.builder import ProfileBuilder
from otelprof.collectors.names import CodeNames
from otelprof.formats import pprof
from otelprof.model import COUNT, Profile, ValueType
from otelprof.pull.answers import PPROF, TEXT
from otelprof.threads import own_threads

_THREADS = ValueType("threads", COUNT)
_KIND = "threads"
_NAME = "thread_name"
_NOT_READ = "(deeper frames not read)"
_ATTEMPTS = 8


class ThreadsNow:
    """The threads now, without otelprof's own.

    Attributes:
        content_type: of what `encode` makes.
    """

    def __init__(self, *, is_text: bool) -> None:
        self.content_type = TEXT if is_text else PPROF
        self._is_text = is_text

    def profile(self) -> Profile:
        """The stack of each; of one that does not stand still for long enough as much of it as is sure."""
        names_of_threads = {thread.ident: thread.name for thread in threading.enumerate()}
        names = CodeNames()
        builder = ProfileBuilder((_THREADS,))
        for ident, stack in _stacks().items():
            rows: list[int] = []
            for code, instruction in stack.places:
                name, filename, line, column = names.place(code, instruction)
                rows.append(builder.frame(name, filename, code.co_firstlineno, line, column))
            if not stack.is_whole:
                rows.append(builder.frame(_NOT_READ, "", 0, 0, 0))
            labels = builder.label_set({_NAME: names_of_threads.get(ident, "unknown")})
            builder.add(builder.stack(rows), 0, labels, (1,))
        return _built(builder)

    def encode(self, left: list[Profile]) -> bytes:
        """`profile()`, after processing, which may have left none of it."""
        profile = left[0] if left else _built(ProfileBuilder((_THREADS,)))
        return _text(profile).encode() if self._is_text else pprof.encode([profile])


class _Stack(NamedTuple):
    """The code of its frames, the leaf first, and where in it each is."""

    places: list[tuple[CodeType, int]]
    is_whole: bool


def _stacks() -> dict[int, _Stack]:
    """By ident, those of all threads but our own.

    Other threads may go on while frames are followed. A stack is whole if its leaf is still the leaf afterwards: what has
    called that cannot have changed.
    """
    own = own_threads().keys()
    found: dict[int, _Stack] = {}
    for _ in range(_ATTEMPTS):
        before = _leaves(own | {ident for ident, stack in found.items() if stack.is_whole})
        if not before:
            break
        places = {ident: _places(leaf) for ident, leaf in before.items()}
        after = _leaves(own)
        for ident, leaf in before.items():
            is_whole = after.get(ident) is leaf
            found[ident] = _Stack(places[ident] if is_whole else places[ident][:1], is_whole)
    return found


def _leaves(without: AbstractSet[int]) -> dict[int, FrameType]:
    frames = sys._current_frames()  # noqa: SLF001 - CPython's way to see other threads
    frames.pop(
        threading.get_ident()
    )  # with itself in it, it would stay until the next collection of garbage
    return {ident: frame for ident, frame in frames.items() if ident not in without}


def _places(leaf: FrameType) -> list[tuple[CodeType, int]]:
    places: list[tuple[CodeType, int]] = []
    frame: FrameType | None = leaf
    while frame is not None:
        places.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return places


def _built(builder: ProfileBuilder) -> Profile:
    return builder.build(
        kind=_KIND,
        start_unix_ns=time.time_ns(),
        duration_ns=0,
        period_type=_THREADS,
        period=1,
    )


def _text(profile: Profile) -> str:
    """As Go's text: a paragraph for each stack, the leaf first."""
    tables = profile.tables
    (counts,) = profile.values
    lines = [f"threads: total {sum(counts)}"]
    for stack, labels, count in zip(profile.stack, profile.labels, counts, strict=True):
        named = ", ".join(
            f"{key}={value!r}" for key, value in sorted(tables.labels_of(labels).items())
        )
        lines += ["", f"{count} @ {named}"]
        for row in tables.stacks[stack]:
            filename = tables.strings[tables.function_of(row).filename]
            lines.append(f"#\t{tables.function_name(row)}\t{filename}:{tables.frames[row].line}")
    return "\n".join((*lines, ""))
