"""What a profile says, checked by hand on profiles small enough to add up in the head."""

from otelprof.model import SpanRecord, ValueType
from otelprof.summary import FunctionTime, RootTime, by_function, by_local_root, total_ns
from tests.support.profiles import LEAF, MIDDLE, ROOT, Place, Row, profile_of, row


def cpu_row(*places: Place, ns: int) -> Row:
    return row(*places, values=(1, ns))


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

    def test_nothing_is_nothing(self) -> None:
        assert by_function([]) == []


def test_totals_are_sums_of_weights() -> None:
    cpu = profile_of(cpu_row(LEAF, ns=10), cpu_row(ROOT, ns=5))
    wall = profile_of(row(LEAF, values=(7, 70)), kind="wall")
    assert total_ns([cpu, wall, cpu]) == {"cpu": 30, "wall": 70}
    assert total_ns([]) == {}


def test_outermost_spans_have_percentiles_and_the_slowest_come_first() -> None:
    def root(name: str, number: int, duration_ns: int) -> SpanRecord:
        span_id = number.to_bytes(8, "big")
        return SpanRecord(bytes(16), span_id, b"", span_id, name, 2, "", 0, 0, duration_ns, "")

    spans = [root("quick", n, n) for n in range(1, 101)] + [root("slow", 200, 1_000)]
    spans.append(spans[0]._replace(span_id=b"inside..", name="inside"))
    assert by_local_root(spans) == [
        RootTime("slow", 1, 1_000, 1_000),
        RootTime("quick", 100, 50, 95),
    ]
