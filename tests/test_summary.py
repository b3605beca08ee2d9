"""What a profile says, checked by hand on profiles small enough to add up in the head."""

from otelprof.model import NO_LINK, Link, SpanRecord, ValueType
from otelprof.summary import (
    NO_SPAN,
    UNKNOWN_SPAN,
    UNRECORDED_SPAN,
    FunctionTime,
    SpanTime,
    by_function,
    by_span,
    top_functions,
    total_ns,
)
from tests.support.profiles import LEAF, MIDDLE, ROOT, Place, Row, profile_of, row

TRACE = b"\x01" * 16
OTHER_TRACE = b"\x02" * 16


def span_id(number: int) -> bytes:
    return number.to_bytes(8, "big") if number else b""


def link(number: int, trace: bytes = TRACE) -> Link:
    return Link(trace, span_id(number))


def span(number: int, name: str, *, parent: int = 0, ns: int = 100) -> SpanRecord:
    return SpanRecord(
        TRACE, span_id(number), span_id(parent), b"", name, 1, "", 0, 1_000, 1_000 + ns, ""
    )


def cpu_row(*places: Place, ns: int, link: Link = NO_LINK, **labels: str) -> Row:
    return row(*places, values=(1, ns), link=link, **labels)


def cpu_of(times: list[SpanTime]) -> dict[str, int]:
    return {time.name: time.cpu_ns for time in times}


class TestByFunction:
    def test_self_is_the_leafs_and_total_everybodys_on_the_stack(self) -> None:
        profile = profile_of(
            cpu_row(LEAF, MIDDLE, ROOT, ns=30), cpu_row(MIDDLE, ROOT, ns=20), cpu_row(ROOT, ns=7)
        )
        assert by_function([profile]) == [
            FunctionTime(LEAF.function, self_cpu_ns=30, total_cpu_ns=30),
            FunctionTime(MIDDLE.function, self_cpu_ns=20, total_cpu_ns=50),
            FunctionTime(ROOT.function, self_cpu_ns=7, total_cpu_ns=57),
        ]

    def test_recursion_counts_once(self) -> None:
        again = MIDDLE._replace(line=15)
        profile = profile_of(
            cpu_row(MIDDLE, again, MIDDLE, ROOT, ns=10), cpu_row(LEAF, MIDDLE, again, ROOT, ns=5)
        )
        assert by_function([profile]) == [
            FunctionTime(MIDDLE.function, self_cpu_ns=10, total_cpu_ns=15),
            FunctionTime(LEAF.function, self_cpu_ns=5, total_cpu_ns=5),
            FunctionTime(ROOT.function, self_cpu_ns=0, total_cpu_ns=15),
        ]

    def test_lines_of_one_function_add_up(self) -> None:
        profile = profile_of(cpu_row(LEAF, ns=1), cpu_row(LEAF._replace(line=8), ns=2))
        assert by_function([profile]) == [
            FunctionTime(LEAF.function, self_cpu_ns=3, total_cpu_ns=3)
        ]

    def test_columns_of_one_line_add_up(self) -> None:
        again = LEAF._replace(column=30)
        profile = profile_of(cpu_row(LEAF, again, ROOT, ns=1), cpu_row(again, ROOT, ns=2))
        assert len(profile) == 2
        assert by_function([profile]) == [
            FunctionTime(LEAF.function, self_cpu_ns=3, total_cpu_ns=3),
            FunctionTime(ROOT.function, self_cpu_ns=0, total_cpu_ns=3),
        ]

    def test_cpu_and_wall_stand_side_by_side(self) -> None:
        cpu = profile_of(cpu_row(LEAF, ROOT, ns=10))
        wall = profile_of(row(LEAF, ROOT, values=(2, 25)), row(ROOT, values=(1, 5)), kind="wall")
        assert by_function([cpu, wall]) == [
            FunctionTime(LEAF.function, 10, 10, 25, 25),
            FunctionTime(ROOT.function, 0, 10, 5, 30),
        ]

    def test_most_cpu_first_then_most_wall_then_by_name(self) -> None:
        a, b, c, d = (LEAF._replace(function=name) for name in "abcd")
        cpu = profile_of(cpu_row(b, ns=5), cpu_row(c, ns=9))
        wall = profile_of(
            row(d, values=(1, 9)), row(a, values=(1, 9)), row(b, values=(1, 7)), kind="wall"
        )
        assert [time.function for time in by_function([cpu, wall])] == ["c", "b", "a", "d"]

    def test_other_kinds_are_left_out(self) -> None:
        heap = profile_of(
            row(LEAF, values=(1, 10)),
            kind="heap",
            value_types=(ValueType("inuse_objects", "count"), ValueType("inuse_space", "bytes")),
        )
        assert by_function([heap]) == []
        assert by_span([heap], []) == []

    def test_nothing_is_nothing(self) -> None:
        assert by_function([]) == []


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


def test_totals_are_sums_of_weights() -> None:
    cpu = profile_of(cpu_row(LEAF, ns=10), cpu_row(ROOT, ns=5))
    wall = profile_of(row(LEAF, values=(7, 70)), kind="wall")
    assert total_ns([cpu, wall, cpu]) == {"cpu": 30, "wall": 70}
    assert total_ns([]) == {}
