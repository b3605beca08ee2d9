"""Span records as rows that point at each other, whatever the records claim.

They come from files, so a span may be there twice, be its own ancestor, or end before it began.
"""

from collections.abc import Iterable
from typing import Any

from otelprof.model import MAX_INT64, Link, SpanRecord
from otelprof.report.rows import Rows, columns

# What a sample has in place of a span's row.
NO_SPAN = -1
UNKNOWN_SPAN = -2
UNRECORDED_SPAN = -3

_NO_ROW = -1
_NS_PER_MS = 1_000_000


class SpanRows:
    """Spans by the time of their start, each once, and the rows of their parents."""

    def __init__(self, spans: Iterable[SpanRecord]) -> None:
        once = {(span.trace_id, span.span_id): span for span in spans}
        self._spans = sorted(once.values(), key=lambda s: (s.start_unix_ns, s.trace_id, s.span_id))
        self._rows = {(s.trace_id, s.span_id): row for row, s in enumerate(self._spans)}

    def row_of(self, link: Link) -> int:
        """The row of the span that `link` names, or UNRECORDED_SPAN."""
        return self._rows.get((link.trace_id, link.span_id), UNRECORDED_SPAN)

    def columns(self, strings: Rows[str]) -> dict[str, Any]:
        """All spans. Parents are -1 where there is none; times are what fits into 64 bits, durations never negative."""
        parents = self._parents()
        start_ns = min((_time_ns(s.start_unix_ns) for s in self._spans), default=0)
        add = strings.add
        rows = [
            (
                add(span.trace_id.hex()),
                add(span.span_id.hex()),
                parents[row],
                self._rows.get((span.trace_id, span.local_root_span_id), _NO_ROW),
                add(span.name),
                add(span.route),
                add(span.thread),
                span.kind,
                span.status,
                _time_ns(span.start_unix_ns) - start_ns,
                max(0, _time_ns(span.end_unix_ns) - _time_ns(span.start_unix_ns)),
            )
            for row, span in enumerate(self._spans)
        ]
        names = ("trace", "id", "parent", "root", "name", "route", "thread", "kind", "status")
        return {
            "begin_unix_ms": start_ns / _NS_PER_MS,
            **columns(rows, *names, "start_ns", "duration_ns"),
        }

    def _parents(self) -> list[int]:
        """The row of each span's parent. A chain of parents that comes back to itself is cut."""
        parents = [self._rows.get((s.trace_id, s.parent_span_id), _NO_ROW) for s in self._spans]
        is_done = [False] * len(parents)
        for first in range(len(parents)):
            on_the_way: set[int] = set()
            row = first
            while row != _NO_ROW and not is_done[row]:
                on_the_way.add(row)
                if parents[row] in on_the_way:
                    parents[row] = _NO_ROW
                row = parents[row]
            for passed in on_the_way:
                is_done[passed] = True
        return parents


def _time_ns(unix_ns: int) -> int:
    return min(max(unix_ns, 0), MAX_INT64)
