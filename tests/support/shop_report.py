"""Two requests to a shop of which everything is known, as profiles and spans.

`GET /slow` takes a second: 400 ms on a thread in its own code, 250 ms in its child `SELECT` of 300 ms, and the rest it waits.
`GET /fast` takes 100 ms, 20 ms of them on a thread. 500 ms belong to no span, 20 ms to an unknown one, 30 ms to one that
was not recorded.
"""

from dataclasses import replace

from otelprof.model import Link, Producer, Profile, SpanRecord
from tests.support.profiles import START_UNIX_NS, Place, profile_of, row

MS = 1_000_000
TRACE, FAST_TRACE = b"\x11" * 16, b"\x22" * 16
SLOW, SELECT, FAST, LOST = b"\x01" * 8, b"\x02" * 8, b"\x03" * 8, b"\x09" * 8

MAIN = Place("shop.main", "/srv/shop/main.py", 1, 5)
HANDLE = Place("shop.views.View.handle", "/srv/shop/views.py", 10, 20)
RANK = Place("shop.ranking.rank", "/srv/shop/ranking.py", 7, 9)
RANK_BELOW = Place("shop.ranking.rank", "/srv/shop/ranking.py", 7, 12)
EXECUTE = Place("db.Cursor.execute", "/venv/lib/python3.11/site-packages/db.py", 30, 33)
WAIT = Place("threading.Condition.wait", "/usr/lib/python3.11/threading.py", 280, 300)
BETWEEN = Place("(between samples)", "", 0, 0)

_SLOW = Link(TRACE, SLOW, SLOW)
_SELECT = Link(TRACE, SELECT, SLOW)
_FAST = Link(FAST_TRACE, FAST, FAST)


def _values(ms: int) -> tuple[int, int]:
    return (ms // 10, ms * MS)


def profiles() -> list[Profile]:
    """CPU and wall, 10 ms between samples, of the threads `MainThread` and `worker`."""
    wall = profile_of(
        row(RANK, HANDLE, MAIN, values=_values(300), link=_SLOW, thread_name="MainThread"),
        row(
            RANK_BELOW,
            RANK,
            HANDLE,
            MAIN,
            values=_values(100),
            link=_SLOW,
            thread_name="MainThread",
        ),
        row(EXECUTE, HANDLE, MAIN, values=_values(250), link=_SELECT, thread_name="MainThread"),
        row(HANDLE, MAIN, values=_values(20), link=_FAST, thread_name="MainThread"),
        row(WAIT, values=_values(500), thread_name="worker"),
        row(MAIN, values=_values(20), span="unknown", thread_name="MainThread"),
        row(MAIN, values=_values(30), link=Link(TRACE, LOST, LOST), thread_name="MainThread"),
        kind="wall",
    )
    cpu = profile_of(
        row(RANK, HANDLE, MAIN, values=_values(380), link=_SLOW, thread_name="MainThread"),
        row(EXECUTE, HANDLE, MAIN, values=_values(10), link=_SELECT, thread_name="MainThread"),
        row(BETWEEN, values=_values(40), thread_name="MainThread"),
    )
    return [
        _about(cpu, ("truncated", 3)),
        _about(wall, ("truncated", 3), ("span_unknown", 2)),
    ]


def _about(profile: Profile, *losses: tuple[str, int]) -> Profile:
    resource = (("service.name", "shop"), ("process.pid", 4711))
    return replace(profile, resource=resource, producer=Producer("1.2.3", "core"), losses=losses)


def spans() -> list[SpanRecord]:
    """The spans of both requests."""
    return [
        _span(TRACE, SLOW, b"", SLOW, "GET /slow", 0, 1000),
        _span(TRACE, SELECT, SLOW, SLOW, "SELECT", 200, 500, status=2),
        _span(FAST_TRACE, FAST, b"", FAST, "GET /fast", 1100, 1200),
    ]


def _span(  # noqa: PLR0913, PLR0917 - the fields of a span
    trace: bytes,
    own: bytes,
    parent: bytes,
    root: bytes,
    name: str,
    begin_ms: int,
    end_ms: int,
    *,
    status: int = 0,
) -> SpanRecord:
    return SpanRecord(
        trace_id=trace,
        span_id=own,
        parent_span_id=parent,
        local_root_span_id=root,
        name=name,
        kind=3 if parent else 2,
        route="",
        status=status,
        start_unix_ns=START_UNIX_NS + begin_ms * MS,
        end_unix_ns=START_UNIX_NS + end_ms * MS,
        thread="MainThread",
    )
