"""What the sampler fills between two drains: stacks interned, samples added up as they are taken.

No object is kept for a sample: a sample is three additions to the group of its (stack, span, thread).
Code objects of interned stacks are held until the window is drained, so that no other code can take their
place in memory; lines and names are looked up at the drain, once for each distinct place.
"""

from array import array
from types import CodeType, FrameType
from typing import NamedTuple

from otelprof.builder import ProfileBuilder
from otelprof.collectors.names import CodeNames
from otelprof.context import UNKNOWN, SpanIds, Unknown
from otelprof.cpython import PLACES, Place, place_of
from otelprof.model import (
    KINDS,
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    UNKNOWN_SPAN_LABEL,
    Link,
    Producer,
    Profile,
)
from otelprof.version import __version__

MAX_STACKS = 8_192  # at 128 frames each about 30 MB, which no service seen so far comes near
MAX_GROUPS = 65_536
MAX_DEPTH = 128
_LEAF_FRAMES = 96  # of a deeper stack, so many stay at the leaf, and the rest at the root
_ROOT_FRAMES = MAX_DEPTH - _LEAF_FRAMES - 1
_MAX_WALK = 1_024  # frames; beyond that the root is not reached, to bound the work of a pass

# Synthetic frames: what stands where there is no code object.
_ELIDED, _TRUNCATED, _OVERFLOW, _UNATTRIBUTED, _UNSEEN = range(5)
_SYNTHETIC_NAMES = (
    "(frames elided)",
    "(deeper frames not read)",
    "(more stacks than the profiler keeps)",
    "(between samples)",
    "(threads that ended, or are not Python's)",
)

_Group = list[int]  # samples, wall ns, cpu ns


class Stack:
    """An interned stack, leaf first. `codes[i]` is None where `offsets[i]` names a synthetic frame."""

    __slots__ = ("codes", "offsets", "place")

    def __init__(
        self, codes: tuple[CodeType | None, ...], offsets: "array[int]", place: Place
    ) -> None:
        self.codes = codes
        self.offsets = offsets
        self.place: Place = place


class _Key(NamedTuple):
    stack: Stack
    span: SpanIds | Unknown | None
    thread: str


_OVERFLOW_STACKS = {place: Stack((None,), array("q", [_OVERFLOW]), place) for place in PLACES}
NO_STACK = Stack((), array("q"), "thread")
_UNSEEN_STACK = Stack((None,), array("q", [_UNSEEN]), "thread")
_UNATTRIBUTED_STACK = Stack((None,), array("q", [_UNATTRIBUTED]), "thread")


class Window:
    """Samples since the last drain. Used by one thread at a time.

    Attributes:
        start_unix_ns, start_ns: begin by the wall clock and by the monotonic one.
    """

    def __init__(self, start_unix_ns: int, start_ns: int) -> None:
        self.start_unix_ns = start_unix_ns
        self.start_ns = start_ns
        self.losses: dict[str, int] = {}
        self._stacks: dict[bytes, Stack] = {}
        self._groups: dict[_Key, _Group] = {}

    def intern(self, top: FrameType) -> Stack:
        """The stack whose leaf is `top`. About 0.3 µs a frame; 1,024 frames are read at most."""
        frames: list[FrameType | None] = []
        append = frames.append
        frame: FrameType | None = top
        while frame is not None and len(frames) < _MAX_WALK:
            append(frame)
            frame = frame.f_back
        if frame is not None:
            frames[_LEAF_FRAMES:] = [None]
            synthetic = _TRUNCATED
            self.count("truncated")
        else:
            synthetic = _ELIDED
            if len(frames) > MAX_DEPTH:
                frames[_LEAF_FRAMES:-_ROOT_FRAMES] = [None]
        # Ids name code objects: those of interned stacks are alive and so cannot be taken by others.
        key = array("Q")
        for frame in frames:
            if frame is None:
                key.extend((0, synthetic))
            else:
                key.extend((id(frame.f_code), frame.f_lasti & 0xFFFFFFFF))
        name = key.tobytes()
        stack = self._stacks.get(name)
        if stack is None:
            codes = tuple(frame.f_code if frame else None for frame in frames)
            offsets = array("q", (frame.f_lasti if frame else synthetic for frame in frames))
            place = place_of(code for code in codes if code)
            if len(self._stacks) >= MAX_STACKS:
                self.count("overflow")
                return _OVERFLOW_STACKS[place]
            stack = self._stacks[name] = Stack(codes, offsets, place)
        return stack

    def add(
        self, stack: Stack, span: SpanIds | Unknown | None, thread: str, wall_ns: int, cpu_ns: int
    ) -> None:
        """Add one sample."""
        key = _Key(stack, span, thread)
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= MAX_GROUPS:
                self.count("overflow")
                key = _Key(_OVERFLOW_STACKS["thread"], None, thread)
            group = self._groups.setdefault(key, [0, 0, 0])
        group[0] += 1
        group[1] += wall_ns
        group[2] += cpu_ns
        if span is UNKNOWN:
            self.count("span_unknown")

    def add_unattributed(self, thread: str, cpu_ns: int, wall_ns: int) -> None:
        """Add time of a thread that no sample covers, so that totals stay true."""
        group = self._groups.setdefault(_Key(_UNATTRIBUTED_STACK, None, thread), [0, 0, 0])
        group[1] += wall_ns
        group[2] += cpu_ns

    def add_unseen(self, cpu_ns: int) -> None:
        """Add CPU time of the process that no thread was seen to use."""
        self._groups.setdefault(_Key(_UNSEEN_STACK, None, "unknown"), [0, 0, 0])[2] += cpu_ns

    def count(self, reason: str) -> None:
        """Count a loss."""
        self.losses[reason] = self.losses.get(reason, 0) + 1

    def profiles(
        self,
        kinds: tuple[str, ...],
        end_ns: int,
        period_ns: int,
        remainder_ns: int,
        reason: str = "",
    ) -> tuple[list[Profile], int]:
        """The profiles of this window, and the CPU time left over to be counted in the next one.

        `samples` of a CPU profile is its CPU time in periods, rounded so that the sum is right: many
        receivers know no nanoseconds and multiply the count by the period. `reason` is why the samples are
        taken in Python.
        """
        profiles: list[Profile] = []
        names = CodeNames()
        for kind in kinds:
            builder = ProfileBuilder(KINDS[kind])
            stacks: dict[Stack, int] = {}
            for key, (samples, wall_ns, cpu_ns) in self._groups.items():
                value = cpu_ns if kind == "cpu" else wall_ns
                if not value:
                    continue
                if kind == "cpu":
                    samples, remainder_ns = divmod(cpu_ns + remainder_ns, period_ns)  # noqa: PLW2901 - its meaning for this kind
                row = stacks.get(key.stack)
                if row is None:
                    row = stacks[key.stack] = builder.stack(_frames(builder, names, key.stack))
                labels = {"thread_name": key.thread}
                link = 0
                if isinstance(key.span, Unknown):
                    labels.update([UNKNOWN_SPAN_LABEL])
                elif key.span is not None:
                    link = builder.link(_link(key.span))
                builder.add(row, link, builder.label_set(labels), (samples, value))
            profile = builder.build(
                kind=kind,
                start_unix_ns=self.start_unix_ns,
                duration_ns=end_ns - self.start_ns,
                period_type=KINDS[kind][1],
                period=period_ns,
                producer=Producer(__version__, "python", reason),
                losses=sorted(self.losses.items()),
            )
            if len(profile):
                profiles.append(profile)
        return profiles, remainder_ns


def _frames(builder: ProfileBuilder, names: CodeNames, stack: Stack) -> list[int]:
    rows: list[int] = []
    for code, offset in zip(stack.codes, stack.offsets, strict=True):
        if code is None:
            rows.append(builder.frame(_SYNTHETIC_NAMES[offset], "", 0, 0))
        else:
            name, filename, line, column = names.place(code, offset)
            rows.append(builder.frame(name, filename, code.co_firstlineno, line, column))
    return rows


def _link(span: SpanIds) -> Link:
    trace_id, span_id, root_id = span
    return Link(
        trace_id.to_bytes(TRACE_ID_BYTES, "big"),
        span_id.to_bytes(SPAN_ID_BYTES, "big"),
        root_id.to_bytes(SPAN_ID_BYTES, "big") if root_id else b"",
    )
