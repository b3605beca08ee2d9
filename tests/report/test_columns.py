"""What the page is given: the tree, the samples and the spans, as columns."""

from dataclasses import replace

from otelprof import report
from otelprof.builder import merged
from otelprof.model import MAX_INT64, Profile, SpanRecord, ValueType
from otelprof.report.columns import columns_of
from tests.support.odd_profiles import odd
from tests.support.profiles import (
    LEAF,
    MIDDLE,
    ROOT,
    START_UNIX_NS,
    cpu_and_wall,
    profile_of,
    row,
)
from tests.support.shop_report import FAST, MS, SELECT, SLOW, TRACE, profiles, spans


def samples(profile: Profile) -> dict[tuple[tuple[str, ...], int], int]:
    """The weights in the columns by stack, root first, and span."""
    columns = columns_of([profile], spans())
    (kind,) = columns["kinds"]
    strings, nodes = columns["strings"], columns["nodes"]
    found: dict[tuple[tuple[str, ...], int], int] = {}
    for node, span, weight in zip(kind["node"], kind["span"], kind["weight"], strict=True):
        stack: list[str] = []
        at = node
        while at:
            function = columns["frames"]["function"][nodes["frame"][at]]
            stack.insert(0, strings[columns["functions"]["name"][function]])
            at = nodes["parent"][at]
        found[tuple(stack), span] = found.get((tuple(stack), span), 0) + weight
    return found


def span(span_id: bytes, parent: bytes = b"", begin_ns: int = 0, end_ns: int = 1) -> SpanRecord:
    return SpanRecord(
        TRACE, span_id, parent, span_id, "x", 1, "", 0, START_UNIX_NS + begin_ns, end_ns, ""
    )


class TestSamples:
    def test_are_in_the_tree_with_their_spans(self) -> None:
        wall = profiles()[1]
        handled = ("shop.main", "shop.views.View.handle")
        assert samples(wall) == {
            ((*handled, "shop.ranking.rank"), 0): 300 * MS,
            ((*handled, "shop.ranking.rank", "shop.ranking.rank"), 0): 100 * MS,
            ((*handled, "db.Cursor.execute"), 1): 250 * MS,
            (handled, 2): 20 * MS,
            (("threading.Condition.wait",), -1): 500 * MS,
            (("shop.main",), -2): 20 * MS,
            (("shop.main",), -3): 30 * MS,
        }

    def test_add_up_whatever_their_other_labels(self) -> None:
        profile = profile_of(
            row(LEAF, ROOT, values=(1, 10), tenant="a"), row(LEAF, ROOT, values=(2, 20), tenant="b")
        )
        (kind,) = columns_of([profile], [])["kinds"]
        assert (kind["weight"], kind["count"]) == ((30,), (3,))

    def test_of_several_profiles_are_those_of_their_sum(self) -> None:
        both = [*cpu_and_wall(), *cpu_and_wall()]
        apart, together = (columns_of(some, []) for some in (both, merged(both)))
        assert [k["weight"] for k in apart["kinds"]] == [k["weight"] for k in together["kinds"]]
        assert apart["nodes"] == together["nodes"]

    def test_say_whether_they_were_counted(self) -> None:
        wall = profile_of(
            row(ROOT, values=(50,)), kind="wall", value_types=(ValueType("wall", "nanoseconds"),)
        )
        (kind,) = columns_of([wall], [])["kinds"]
        assert (kind["is_counted"], kind["count"], kind["weight"]) == (False, (), (50,))

    def test_of_one_kind_in_two_units_are_two(self) -> None:
        first = profile_of(row(ROOT, values=(1,)), kind="x", value_types=(ValueType("a", "bytes"),))
        second = replace(first, value_types=(ValueType("b", "count"),))
        kinds = columns_of([first, second, first], [])["kinds"]
        assert [(k["name"], k["unit"], k["weight"]) for k in kinds] == [
            ("x", "bytes", (2,)),
            ("x/b", "count", (1,)),
        ]

    def test_with_a_parent_before_each_child(self) -> None:
        parents = columns_of(cpu_and_wall(), [])["nodes"]["parent"]
        assert all(parent < node for node, parent in enumerate(parents) if node)

    def test_with_odd_names_and_huge_numbers_are_there(self) -> None:
        assert report.encode([odd()])
        assert report.encode([])


class TestSpans:
    def test_know_their_parents_and_entries(self) -> None:
        columns = columns_of(profiles(), spans())["spans"]
        assert (columns["parent"], columns["root"]) == ((-1, 0, -1), (0, 0, 2))
        assert columns["start_ns"] == (0, 200 * MS, 1100 * MS)
        assert columns["duration_ns"] == (1000 * MS, 300 * MS, 100 * MS)

    def test_are_there_once(self) -> None:
        assert columns_of([], [*spans(), *spans()]) == columns_of([], spans())

    def test_that_are_their_own_ancestors_are_cut_apart(self) -> None:
        loop = [span(SLOW, SELECT), span(SELECT, FAST), span(FAST, SLOW), span(b"\x07" * 8, SLOW)]
        parents = columns_of([], loop)["spans"]["parent"]
        for first in range(len(parents)):
            at, steps = first, 0
            while at >= 0:
                at, steps = parents[at], steps + 1
                assert steps <= len(parents)
        own = columns_of([], [span(SLOW, SLOW)])["spans"]["parent"]
        assert own == (-1,)

    def test_that_end_before_they_begin_last_no_time(self) -> None:
        columns = columns_of([], [span(SLOW, begin_ns=5, end_ns=0), span(FAST, end_ns=10**40)])
        assert columns["spans"]["duration_ns"] == (MAX_INT64 - START_UNIX_NS, 0)


class TestFacts:
    def test_name_every_process(self) -> None:
        first, second = (
            replace(profile_of(), resource=(("service.name", "shop"), ("process.pid", pid)))
            for pid in (1, 2)
        )
        facts = dict(columns_of([first, second], [])["facts"])
        assert facts["process.pid"] == "1, 2"
        assert facts["sampling"] == "cpu: every 10 ms"

    def test_have_all_losses(self) -> None:
        first = replace(profile_of(), losses=(("torn", 2), ("truncated", 0)))
        assert columns_of([first, first], [])["losses"] == [("cpu", "torn", 4)]


def test_equal_profiles_are_equal_pages() -> None:
    assert report.encode(cpu_and_wall(), spans()) == report.encode(cpu_and_wall(), spans())


def test_lines_of_a_function_are_places_of_their_own() -> None:
    twice = profile_of(row(MIDDLE, values=(1, 1)), row(MIDDLE._replace(line=15), values=(1, 1)))
    columns = columns_of([twice], [])
    assert len(columns["functions"]["name"]) == 2
    assert columns["frames"]["line"] == (0, 14, 15)
