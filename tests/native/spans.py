"""Spans with code of their own: `work_7` runs nowhere but in span 7, and `work_0` in no span.

So every sample tells whether its label is right.
"""

import re
import types
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.context.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from tests.native.installed import core
from tests.native.windows import Row, say

TRACE_ID = 0xABCDEF << 100 | 1
OWN_CODE = re.compile(r"(?:work|task)_(\d+)$")
# Frames of event loops in which no task's context is entered.
SPANLESS = {"BaseEventLoop._run_once", "EpollSelector.select"}

Work = Callable[[int], int]


def work(n: int) -> int:
    """What all workers do, each by a code object of its own."""
    total = 0
    for i in range(n):
        total += i
    return total


def worker(index: int) -> Work:
    name = f"work_{index}"
    code = work.__code__.replace(
        co_name=name, co_qualname=name, co_firstlineno=1_000 + index % 1_000
    )
    return types.FunctionType(code, globals())


def context_of(index: int) -> Context:
    span = SpanContext(TRACE_ID, index, is_remote=False, trace_flags=TraceFlags(1))
    return set_span_in_context(NonRecordingSpan(span), Context())


@dataclass(slots=True)
class Spans:
    """A runtime context of its own, with spans 1 to `count`."""

    count: int
    var: ContextVar[Any] = field(default_factory=lambda: ContextVar("spans"))
    runtime: core.RuntimeContext = field(init=False)
    works: list[Work] = field(init=False)
    contexts: list[Context] = field(init=False)

    def __post_init__(self) -> None:
        self.runtime = core.RuntimeContext(self.var)
        self.works = [worker(index) for index in range(self.count + 1)]
        self.contexts = [Context(), *(context_of(index + 1) for index in range(self.count))]

    @contextmanager
    def current(self, index: int) -> Iterator[None]:
        token = self.runtime.attach(self.contexts[index])
        try:
            yield
        finally:
            self.runtime.detach(token)


@dataclass(slots=True)
class Tally:
    """Samples by what their labels say, and of those whose code tells its span, by that span."""

    samples: int = 0
    unknown: int = 0
    right: Counter[int] = field(default_factory=Counter[int])
    wrong: Counter[tuple[int, int, tuple[str, ...]]] = field(
        default_factory=Counter[tuple[int, int, tuple[str, ...]]]
    )

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            expected = span_of(row.names)
            self.samples += row.samples
            if row.span_id is None:
                self.unknown += row.samples
            elif expected is None:
                continue
            elif row.span_id == expected:
                self.right[expected] += row.samples
            else:
                self.wrong[expected, row.span_id, row.names[:4]] += row.samples

    def __str__(self) -> str:
        unknown = self.unknown / max(self.samples, 1)
        return (
            f"labels of {self.samples}: right {self.right.total()} wrong {self.wrong.total()}"
            f" unknown {self.unknown} ({unknown:.2%})"
        )

    def assert_right(self, *, unknown_most: float = 0.0) -> None:
        say(self)
        assert not self.wrong, f"wrong labels (of, seen): {self.wrong.most_common(5)}"
        assert self.unknown <= unknown_most * self.samples, str(self)

    def assert_seen(self, *indices: int, least: int = 20) -> None:
        for index in indices:
            assert self.right[index] >= least, f"span {index}: {self.right}"


def span_of(names: tuple[str, ...]) -> int | None:
    """The span of the leaf-most frame that belongs to one; None if none does."""
    if names[0] in SPANLESS:
        return 0
    for name in names:
        if found := OWN_CODE.match(name):
            return int(found[1])
    return None


def tally(rows: Iterable[Row]) -> Tally:
    result = Tally()
    result.add(rows)
    return result
