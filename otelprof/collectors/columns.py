"""The C core's window as profiles: what the columns say, with names, links and labels resolved once each."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from otelprof.builder import ProfileBuilder
from otelprof.collectors.names import CodeNames
from otelprof.model import KINDS, UNKNOWN_SPAN_LABEL, Link, Producer, Profile
from otelprof.version import __version__

if TYPE_CHECKING:
    from otelprof import _core

_JIT = "CPython's JIT is on, so the lines of leaf frames are approximate"
_NO_FRAMES = "(no Python frames)"  # a row needs a stack


class Columns:
    """A window of the core's, read. No object is made for a group: its row of each column is looked at.

    Args:
        window: as `_core.Sampler.drain` gave it.
        name_of: the name of a thread by the kernel's id; None to leave the thread out.
        has_labels: whether labels were made all the time; if not, the span of every group is unknown.
    """

    def __init__(
        self,
        window: "_core.Window",
        *,
        name_of: Callable[[int], str | None],
        has_labels: bool,
    ) -> None:
        from otelprof import _core  # noqa: PLC0415 - only where there is one

        self._duration_ns = window["end_ns"] - window["start_ns"]
        self._stack = memoryview(window["stack"]).cast("I")
        self._label = memoryview(window["label"]).cast("I")
        self._thread = memoryview(window["thread"]).cast("I")
        self._samples = memoryview(window["samples"]).cast("Q")
        self._weights = {
            "cpu": memoryview(window["cpu_ns"]).cast("Q"),
            "wall": memoryview(window["wall_ns"]).cast("Q"),
        }
        self._stack_ends = memoryview(window["stack_ends"]).cast("I")
        self._stack_places = memoryview(window["stack_places"]).cast("I")
        self._place_code = memoryview(window["place_code"]).cast("I")
        self._place_line = memoryview(window["place_line"]).cast("i")
        self._place_column = memoryview(window["place_column"]).cast("i")
        names = CodeNames()
        self._functions = [_function(names, *code) for code in window["codes"]]
        self._links = [_link(label) for label in window["labels"]]
        self._thread_names = [name_of(native_id) for _, native_id in window["threads"]]
        self._unknown = {_core.UNKNOWN_LABEL}
        losses = Counter({reason: count for reason, count in window["losses"].items() if count})
        if not has_labels:
            self._links = [None] * len(self._links)
            self._unknown = set(range(len(self._links)))
            losses["span_unknown"] = sum(self._samples)
        self._losses = sorted((+losses).items())

    def profiles(
        self, kinds: Sequence[str], *, start_unix_ns: int, period_ns: int, remainder_ns: int
    ) -> tuple[list[Profile], int]:
        """One profile a kind, without empty ones, and the CPU time left over to be counted in the next window."""
        profiles: list[Profile] = []
        for kind in kinds:
            builder = ProfileBuilder(KINDS[kind])
            left_ns = self._fill(builder, kind, period_ns, remainder_ns)
            if kind == "cpu":
                remainder_ns = left_ns
            profile = builder.build(
                kind=kind,
                start_unix_ns=start_unix_ns,
                duration_ns=self._duration_ns,
                period_type=KINDS[kind][1],
                period=period_ns,
                producer=_producer(),
                losses=self._losses,
            )
            if len(profile):
                profiles.append(profile)
        return profiles, remainder_ns

    def _fill(self, builder: ProfileBuilder, kind: str, period_ns: int, remainder_ns: int) -> int:
        """Add every group that has a weight of this kind. Groups that differ in flags only become one row."""
        stacks: dict[int, int] = {}
        spans: dict[tuple[int, int], tuple[int, int]] = {}
        columns = (self._stack, self._label, self._thread, self._samples, self._weights[kind])
        for stack, label, thread, samples, weight_ns in zip(*columns, strict=True):
            thread_name = self._thread_names[thread]
            if not weight_ns or thread_name is None:
                continue
            count = samples
            if kind == "cpu":
                # In periods and rounded so that the sum is right (window.py).
                count, remainder_ns = divmod(weight_ns + remainder_ns, period_ns)
            row = stacks.get(stack)
            if row is None:
                row = stacks[stack] = builder.stack(self._frames(builder, stack))
            span = spans.get((label, thread))
            if span is None:
                span = spans[label, thread] = self._span(builder, label, thread_name)
            builder.add(row, *span, (count, weight_ns))
        return remainder_ns

    def _frames(self, builder: ProfileBuilder, stack: int) -> list[int]:
        first = self._stack_ends[stack - 1] if stack else 0
        rows: list[int] = []
        for place in self._stack_places[first : self._stack_ends[stack]]:
            name, filename, start_line = self._functions[self._place_code[place]]
            line, column = self._place_line[place], self._place_column[place]
            if not line:  # its column is of no line
                line, column = start_line, 0
            rows.append(builder.frame(name, filename, start_line, line, column))
        return rows or [builder.frame(_NO_FRAMES, "", 0, 0)]

    def _span(self, builder: ProfileBuilder, label: int, thread_name: str) -> tuple[int, int]:
        """The rows of the link and of the label set."""
        labels = {"thread_name": thread_name}
        if label in self._unknown:
            labels.update([UNKNOWN_SPAN_LABEL])
        link = self._links[label]
        return 0 if link is None else builder.link(link), builder.label_set(labels)


def _function(
    names: CodeNames, filename: str, qualname: str, first_line: int
) -> tuple[str, str, int]:
    if not filename and qualname.startswith("("):
        return qualname, "", 0  # synthetic: it is in no file and no module
    return *names.name(filename, qualname), first_line


def _link(label: tuple[bytes, bytes, bytes, bool] | None) -> Link | None:
    if label is None:
        return None
    trace_id, span_id, root_id, _ = label
    return Link(trace_id, span_id, root_id if any(root_id) else b"")


def _producer() -> Producer:
    return Producer(__version__, "core", _JIT if _jit_is_on() else "")


def _jit_is_on() -> bool:
    """Whether code may run in machine code of CPython's own, which notes its line less often (3.14 on)."""
    jit: Any = getattr(sys, "_jit", None)
    return jit is not None and bool(jit.is_enabled())
