"""The stacks of profiles as one tree."""

from otelprof.call_tree import Call, call_tree
from tests.support.profiles import LEAF, MIDDLE, ROOT, profile_of, row

CPU = profile_of(
    row(LEAF, ROOT, values=(1, 10)),
    row(LEAF, LEAF, ROOT, values=(1, 5)),
    row(ROOT, values=(1, 3)),
)
WALL = profile_of(row(MIDDLE, ROOT, values=(1, 40)), kind="wall")


def own(call: Call) -> tuple[int, int, int, int]:
    return call.cpu_ns, call.self_cpu_ns, call.wall_ns, call.self_wall_ns


def test_has_the_time_of_each_call_with_and_without_what_it_calls() -> None:
    tree = call_tree([CPU, WALL])
    assert own(tree) == (18, 0, 40, 0)
    (main,) = tree.calls.values()
    assert own(main) == (18, 3, 40, 0)
    assert own(main.calls["app.db.query"]) == (15, 10, 0, 0)
    assert own(main.calls["app.db.query"].calls["app.db.query"]) == (5, 5, 0, 0)
    assert own(main.calls["app.orders.Order.place"]) == (0, 0, 40, 40)


def test_gives_the_heaviest_calls_of_a_kind_first_and_none_without_time() -> None:
    (main,) = call_tree([CPU, WALL]).calls.values()
    assert [call.function for call in main.heaviest("cpu", 0)] == ["app.db.query"]
    assert [call.function for call in main.heaviest("wall", 0)] == ["app.orders.Order.place"]
    assert main.heaviest("wall", 41) == []


def test_leaves_other_kinds_out() -> None:
    assert not call_tree([profile_of(row(LEAF, values=(1, 2)), kind="cpu")]).wall_ns
    assert call_tree([]) == Call()
