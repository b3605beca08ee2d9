"""Time by span and what made it long, on profiles small enough to add up in the head."""

from otelprof.model import NO_LINK, Link, SpanRecord, ValueType
from otelprof.span_table import (
    NO_SPAN,
    UNKNOWN_SPAN,
    UNRECORDED_SPAN,
    WAITING,
    Cause,
    SpanTime,
    by_span,
    main_cause,
    top_functions,
)
from otelprof.summary import FunctionTime
from tests.support.profiles import LEAF, MIDDLE, ROOT, Place, Row, profile_of, row

TRACE = b"\x01" * 16
OTHER_TRACE = b"\x02" * 16
MS = 1_000_000
EXECUTE = Place("db.Cursor.execute", "/venv/lib/python3.11/site-packages/db.py", 30, 33)
SELECT = Place("selectors.EpollSelector.select", "/usr/lib/python3.11/selectors.py", 400, 450)


def span_id(number: int) -> bytes:
    return number.to_bytes(8, "big") if number else b""


def link(number: int, trace: bytes = TRACE) -> Link:
    return Link(trace, span_id(number))


def span(number: int, name: str, *, parent: int = 0, ns: int = 100, begin: int = 0) -> SpanRecord:
    begin += 1_000
    return SpanRecord(
        TRACE, span_id(number), span_id(parent), b"", name, 1, "", 0, begin, begin + ns, ""
    )


def cpu_row(*places: Place, ns: int, link: Link = NO_LINK, **labels: str) -> Row:
    return row(*places, values=(1, ns), link=link, **labels)


def wall_row(*places: Place, ms: int, link: Link = NO_LINK) -> Row:
    return row(*places, values=(1, ms * MS), link=link)


def cpu_of(times: list[SpanTime]) -> dict[str, int]:
    return {time.name: time.cpu_ns for time in times}


class TestBySpan:
    def test_a_parents_time_includes_its_childrens(self) -> None:
        profile = profile_of(
            cpu_row(ROOT, ns=1, link=link(1)),
            cpu_row(MIDDLE, ROOT, ns=20, link=link(2)),
            cpu_row(LEAF, ROOT, ns=300, link=link(3)),
        )
        spans = [span(1, "request"), span(2, "load", parent=1), span(3, "query", parent=2)]
        assert cpu_of(by_span([profile], spans)) == {"request": 321, "load": 320, "query": 300}

    def test_once_a_name_however_deep(self) -> None:
        profile = profile_of(cpu_row(LEAF, ns=10, link=link(3)))
        spans = [span(1, "walk"), span(2, "walk", parent=1), span(3, "walk", parent=2)]
        (walk,) = by_span([profile], spans)
        assert (walk.count, walk.duration_ns, walk.cpu_ns) == (3, 300, 10)

    def test_spans_of_one_name_add_up(self) -> None:
        profile = profile_of(cpu_row(LEAF, ns=10, link=link(1)), cpu_row(LEAF, ns=5, link=link(2)))
        (query,) = by_span([profile], [span(1, "query", ns=50), span(2, "query", ns=150)])
        assert (query.count, query.duration_ns, query.mean_ns, query.cpu_ns) == (2, 200, 100.0, 15)

    def test_a_span_recorded_twice_counts_once(self) -> None:
        (query,) = by_span([], [span(1, "query"), span(1, "query")])
        assert (query.count, query.duration_ns) == (1, 100)

    def test_what_has_no_recorded_span_is_named(self) -> None:
        profile = profile_of(
            cpu_row(LEAF, ns=1),
            cpu_row(LEAF, ns=2, span="unknown"),
            cpu_row(LEAF, ns=4, link=link(9)),
            cpu_row(LEAF, ns=8, link=link(1, OTHER_TRACE)),
            cpu_row(LEAF, ns=16, link=link(1)),
        )
        times = by_span([profile], [span(1, "query")])
        assert cpu_of(times) == {NO_SPAN: 1, UNKNOWN_SPAN: 2, UNRECORDED_SPAN: 12, "query": 16}
        assert [time.count for time in times] == [1, 0, 0, 0]

    def test_a_child_whose_parent_is_not_recorded_keeps_its_own(self) -> None:
        profile = profile_of(cpu_row(LEAF, ns=10, link=link(2)))
        assert cpu_of(by_span([profile], [span(2, "query", parent=1)])) == {"query": 10}

    def test_parents_in_a_circle_end(self) -> None:
        profile = profile_of(cpu_row(LEAF, ns=10, link=link(1)))
        spans = [span(1, "a", parent=2), span(2, "b", parent=1)]
        assert cpu_of(by_span([profile], spans)) == {"a": 10, "b": 10}

    def test_waiting_is_what_no_thread_shows(self) -> None:
        profile = profile_of(row(LEAF, values=(1, 30), link=link(1)), kind="wall")
        (time,) = by_span([profile], [span(1, "query", ns=100)])
        assert (time.duration_ns, time.wall_ns, time.waiting_ns) == (100, 30, 70)

    def test_a_span_in_one_of_its_name_does_not_wait(self) -> None:
        profile = profile_of(wall_row(LEAF, ms=10, link=link(3)), kind="wall")
        spans = [span(n, "visit", parent=n - 1, ns=10 * MS) for n in (1, 2, 3)]
        (visit,) = by_span([profile], [*spans, span(4, "visit", ns=5 * MS)])
        assert (visit.count, visit.duration_ns) == (4, 35 * MS)
        assert (visit.inner_ns, visit.waiting_ns) == (20 * MS, 5 * MS)

    def test_a_child_that_goes_on_without_it_does_not_count(self) -> None:
        profile = profile_of(
            wall_row(LEAF, ms=40, link=link(1)),
            wall_row(LEAF, ms=900, link=link(2)),
            wall_row(LEAF, ms=7, link=link(3)),
            kind="wall",
        )
        spans = [
            span(1, "job", ns=100 * MS),
            span(2, "background", parent=1, ns=950 * MS, begin=50 * MS),
            span(3, "query", parent=2, ns=10 * MS, begin=60 * MS),
        ]
        times = {time.name: time for time in by_span([profile], spans)}
        assert (times["job"].wall_ns, times["job"].waiting_ns) == (47 * MS, 53 * MS)
        assert times["background"].wall_ns == 907 * MS

    def test_a_child_in_another_process_does_not_count(self) -> None:
        profile = profile_of(wall_row(LEAF, ms=80, link=link(2)), kind="wall")
        there = span(2, "there", parent=1, ns=90 * MS)._replace(local_root_span_id=span_id(2))
        times = by_span([profile], [span(1, "call", ns=100 * MS), there])
        assert {t.name: (t.wall_ns, t.waiting_ns) for t in times} == {
            "call": (0, 100 * MS),
            "there": (80 * MS, 10 * MS),
        }
        call = next(time for time in times if time.name == "call")
        assert main_cause(call) == Cause(WAITING, "", "", 1.0, is_on_cpu=False)

    def test_waiting_is_never_negative(self) -> None:
        """Two threads in one span have more wall time between them than it lasted."""
        profile = profile_of(
            row(LEAF, values=(1, 90), link=link(1), thread_name="a"),
            row(LEAF, values=(1, 80), link=link(1), thread_name="b"),
            kind="wall",
        )
        (time,) = by_span([profile], [span(1, "query", ns=100)])
        assert (time.wall_ns, time.waiting_ns) == (170, 0)

    def test_slowest_mean_first_and_the_spanless_last(self) -> None:
        profile = profile_of(cpu_row(LEAF, ns=10**9), cpu_row(LEAF, ns=10**9, link=link(9)))
        spans = [
            span(1, "fast", ns=10),
            span(2, "slow", ns=900),
            span(3, "often", ns=500),
            span(4, "often", ns=500),
            span(5, "also", ns=10),
        ]
        names = [time.name for time in by_span([profile], spans)]
        assert names == ["slow", "often", "also", "fast", NO_SPAN, UNRECORDED_SPAN]

    def test_functions_of_a_span_are_those_of_its_samples(self) -> None:
        wall = profile_of(
            row(LEAF, ROOT, values=(1, 30), link=link(2)),
            row(ROOT, values=(1, 50), link=link(1)),
            row(MIDDLE, values=(1, 500)),
            kind="wall",
        )
        spans = [span(1, "request", ns=1_000), span(2, "query", parent=1)]
        request, query, _ = by_span([wall], spans)
        assert top_functions(request) == [
            FunctionTime(ROOT.function, 0, 0, 50, 80),
            FunctionTime(LEAF.function, 0, 0, 30, 30),
        ]
        assert top_functions(query) == [
            FunctionTime(LEAF.function, 0, 0, 30, 30),
            FunctionTime(ROOT.function, 0, 0, 0, 30),
        ]

    def test_spans_without_samples_are_there(self) -> None:
        (time,) = by_span([], [span(1, "query", ns=100)])
        assert time == SpanTime("query", count=1, duration_ns=100)
        assert time.waiting_ns == 100
        assert SpanTime("none").mean_ns == 0

    def test_other_kinds_are_left_out(self) -> None:
        heap = profile_of(
            row(LEAF, values=(1, 10)),
            kind="heap",
            value_types=(ValueType("inuse_objects", "count"), ValueType("inuse_space", "bytes")),
        )
        assert by_span([heap], []) == []


class TestMainCause:
    def cause(self, *wall: Row, spans: list[SpanRecord], cpu: tuple[Row, ...] = ()) -> Cause | None:
        profiles = [profile_of(*wall, kind="wall"), profile_of(*cpu)]
        return main_cause(by_span(profiles, spans)[0])

    def test_is_the_function_with_most_time(self) -> None:
        cause = self.cause(
            wall_row(LEAF, ROOT, ms=70, link=link(1)),
            wall_row(MIDDLE, ROOT, ms=20, link=link(1)),
            cpu=(wall_row(LEAF, ROOT, ms=60, link=link(1)),),
            spans=[span(1, "request", ns=100 * MS)],
        )
        assert cause == Cause(LEAF.function, "", "", 0.7, is_on_cpu=True)

    def test_is_the_applications_function_that_called_a_library(self) -> None:
        cause = self.cause(
            wall_row(EXECUTE, MIDDLE, ROOT, ms=90, link=link(1)),
            spans=[span(1, "request", ns=100 * MS)],
        )
        assert cause == Cause(MIDDLE.function, "", "", 0.9, is_on_cpu=False)

    def test_names_the_child_span_that_it_was_in(self) -> None:
        cause = self.cause(
            wall_row(EXECUTE, LEAF, MIDDLE, ms=60, link=link(2)),
            wall_row(LEAF, MIDDLE, ms=30, link=link(1)),
            spans=[span(1, "request", ns=100 * MS), span(2, "SELECT", parent=1, ns=62 * MS)],
        )
        assert cause is not None
        assert cause[:2] == (LEAF.function, "SELECT")

    def test_what_runs_the_event_loop_is_nobodys_reason(self) -> None:
        """`app.main` is also there while no request is: in a request it says nothing."""
        cause = self.cause(
            wall_row(SELECT, ROOT, ms=900),
            wall_row(EXECUTE, ROOT, ms=60, link=link(1)),
            wall_row(EXECUTE, MIDDLE, ROOT, ms=40, link=link(1)),
            spans=[span(1, "request", ns=100 * MS)],
        )
        assert cause is not None
        assert cause.function == EXECUTE.function

    def test_another_line_of_the_same_function_may_be_the_reason(self) -> None:
        cause = self.cause(
            wall_row(ROOT, ms=900),
            wall_row(EXECUTE, ROOT._replace(line=25), ms=90, link=link(1)),
            spans=[span(1, "request", ns=100 * MS)],
        )
        assert cause is not None
        assert cause.function == ROOT.function

    def test_is_waiting_where_most_was_not_sampled(self) -> None:
        cause = self.cause(
            wall_row(LEAF, ms=20, link=link(1)), spans=[span(1, "request", ns=100 * MS)]
        )
        assert cause == Cause(WAITING, "", "", 0.8, is_on_cpu=False)

    def test_says_which_child_span_it_waited_in(self) -> None:
        cause = self.cause(
            wall_row(LEAF, ms=20, link=link(1)),
            spans=[
                span(1, "request", ns=100 * MS),
                span(2, "GET", parent=1, ns=40 * MS, begin=10 * MS),
                span(3, "GET", parent=1, ns=40 * MS, begin=30 * MS),  # side by side with the other
            ],
        )
        # Of the request 60 ms are those of its children, which were there for 80 ms together.
        assert cause == Cause(WAITING, "GET", "", 100 / 120, is_on_cpu=False)

    def test_says_who_has_called_what_was_waited_for(self) -> None:
        spans = [span(1, "request", ns=100 * MS), span(2, "GET", parent=1, ns=90 * MS)]
        by_the_application = wall_row(EXECUTE, MIDDLE, ROOT, ms=10, link=link(2))
        by_nobody = wall_row(EXECUTE, ROOT, ms=20, link=link(2))
        outside = wall_row(SELECT, ROOT, ms=900)
        cause = self.cause(by_the_application, outside, spans=spans)
        assert cause == Cause(WAITING, "GET", MIDDLE.function, 0.9, is_on_cpu=False)
        cause = self.cause(by_the_application, by_nobody, outside, spans=spans)
        assert cause == Cause(WAITING, "GET", "", 0.7, is_on_cpu=False)

    def test_samples_stand_for_a_period_also_in_spans_that_were_shorter(self) -> None:
        """Of ten spans of 2 ms that ran all the time, two were hit, each by a sample of 10 ms."""
        cause = self.cause(
            wall_row(LEAF, ms=10, link=link(3)),
            wall_row(LEAF, ms=10, link=link(7)),
            wall_row(LEAF, ms=20, link=link(8)),
            spans=[span(number, "query", ns=4 * MS) for number in range(1, 11)],
        )
        assert cause == Cause(LEAF.function, "", "", 1.0, is_on_cpu=False)

    def test_too_short_spans_are_not_said_to_wait(self) -> None:
        spans = [span(number, "query", ns=MS) for number in range(1, 30)]
        assert self.cause(wall_row(LEAF, ms=50), spans=spans) is None
        assert self.cause(wall_row(LEAF, ms=50), spans=[*spans, span(30, "query", ns=MS)])

    def test_by_cpu_time_alone_nothing_is_said_of_waiting(self) -> None:
        cpu = profile_of(wall_row(LEAF, ROOT, ms=40, link=link(1)))
        (request,) = by_span([cpu], [span(1, "request", ns=1_000 * MS)])
        assert main_cause(request) == Cause(LEAF.function, "", "", 1.0, is_on_cpu=True)

    def test_by_wall_time_alone_nothing_is_said_of_the_cpu(self) -> None:
        wall = profile_of(wall_row(LEAF, ROOT, ms=90, link=link(1)), kind="wall")
        (request,) = by_span([wall], [span(1, "request", ns=100 * MS)])
        assert main_cause(request) == Cause(LEAF.function, "", "", 0.9, is_on_cpu=None)

    def test_without_samples_nothing_is_known(self) -> None:
        (request,) = by_span([], [span(1, "request", ns=1_000 * MS)])
        assert main_cause(request) is None
