"""The logic of the page, module by module, as a viewer will load them: in the browser, as they are."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import otelprof.report
from tests.support.pages import served

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MODULES = Path(otelprof.report.__file__).parent / "page"

# A tree over the items 0 to 4: 1 calls 2 and 3, 2 calls itself, and 4 stands apart.
TREE = """
  const builder = new TreeBuilder(5, 2);
  const add = (path, weight) => {
    let node = 0;
    for (const item of path) node = builder.child(node, item);
    builder.self[0][node] += weight;
    builder.self[1][node] += weight / 10;
  };
  add([1, 2], 30); add([1, 2, 2], 20); add([1, 3], 40); add([1], 5); add([4], 5); add([4, 2], 10);
  const name = (item) => `f${item}`;
  const tree = builder.tree(name);
  const shape = (t) => [...t.item].map((item, node) => [t.depth[node], item, t.total[0][node], t.start[node]]);
"""


@pytest.fixture(scope="module")
def run(chromium: "Browser") -> Iterator[Callable[..., Any]]:
    """Runs code that sees what a module exports: `run("tree.js", "TreeBuilder, Tree", "return …")`."""
    with served(MODULES) as root:
        page = chromium.new_page()
        page.goto(f"{root}/colours.css")  # any page of this origin

        def run(module: str, names: str, code: str) -> Any:
            return page.evaluate(
                f"(async () => {{ const {{ {names} }} = await import('/{module}'); {code} }})()"
            )

        yield run
        page.close()


class TestTree:
    def test_is_laid_out_heaviest_first(self, run: Callable[..., Any]) -> None:
        assert run("tree.js", "TreeBuilder", f"{TREE} return shape(tree);") == [
            [0, -1, 110, 0],
            [1, 1, 95, 0],
            [2, 2, 50, 0],
            [3, 2, 20, 0],
            [2, 3, 40, 50],
            [1, 4, 15, 95],
            [2, 2, 10, 95],
        ]

    def test_leaves_out_of_its_rows_what_weighs_nothing(self, run: Callable[..., Any]) -> None:
        code = f"{TREE} add([4, 3, 1], 0); const t = builder.tree(name); return [t.size, t.rows.map((r) => r.length), t.children(6)];"
        assert run("tree.js", "TreeBuilder", code) == [9, [1, 2, 3, 1], []]

    def test_item_times_count_recursion_once(self, run: Callable[..., Any]) -> None:
        code = f"{TREE} const t = itemTimes(tree, 5); return [[...t.self[0]], [...t.total[0]], [...t.total[1]]];"
        assert run("tree.js", "TreeBuilder, itemTimes", code) == [
            [0, 5, 60, 40, 5],
            [0, 95, 60, 40, 15],
            [0, 9.5, 6, 4, 1.5],
        ]

    def test_callees_are_those_of_all_places(self, run: Callable[..., Any]) -> None:
        code = f"{TREE} return shape(calleesOf(tree, 2, 5, name));"
        assert run("tree.js", "TreeBuilder, calleesOf", code) == [
            [0, -1, 60, 0],
            [1, 2, 60, 0],
            [2, 2, 20, 0],
        ]

    def test_callers_are_those_of_all_places(self, run: Callable[..., Any]) -> None:
        code = f"{TREE} return shape(callersOf(tree, 2, 5, name));"
        assert run("tree.js", "TreeBuilder, callersOf", code) == [
            [0, -1, 60, 0],
            [1, 2, 60, 0],
            [2, 1, 50, 0],
            [2, 4, 10, 50],
        ]


def test_search_counts_nested_matches_once(run: Callable[..., Any]) -> None:
    code = """
      const { search } = await import('/search.js');
      const found = search(tree, "f2", name);
      return [[...found.nodes], found.weight, found.count, found.items, search(tree, " ", name)];
    """
    assert run("tree.js", "TreeBuilder", TREE + code) == [[2, 3, 6], 60, 6, 1, None]


def test_names_of_nodes_hold_and_tell_them_apart(run: Callable[..., Any]) -> None:
    code = """
      const { nodeName, nodeNamed } = await import('/identity.js');
      const names = [...tree.item].map((_, node) => nodeName(tree, node, name));
      return [names, names.map((of) => nodeNamed(tree, of, name)), nodeNamed(tree, "ff", name)];
    """
    names, nodes, missing = run("tree.js", "TreeBuilder", TREE + code)
    assert len(set(names)) == len(names)
    assert nodes == list(range(7))
    assert missing == -1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("duration(0)", "0 ms"),
        ("duration(35)", "35 ns"),
        ("duration(412_300)", "412 µs"),
        ("duration(999_960_000)", "1.00 s"),
        ("duration(12_345e9)", "12,345 s"),
        ("amount(1536, 'bytes')", "1.50 KiB"),
        ("amount(12345, 'count')", "12,345"),
        ("amount(5, 'widgets')", "5 widgets"),
        ("share(1, 3)", "33.3 %"),
        ("share(1, 1e6)", "<0.1 %"),
        ("share(1, 0)", "\u2013"),
        ("shortened('abcdefgh', 5)", "ab\u2026gh"),
        ("intervalText(0, 10)", "0.0\u201327.8 %"),  # Wilson: n = 10, no hit
        ("intervalText(5, 10)", "23.7\u201376.3 %"),
        ("printable('a\\u202eb\\u0000')", "a\\u202eb\\u0000"),
        ("time(1_700_000_000_000)", "2023-11-14 22:13:20 UTC"),
        ("time(NaN)", ""),
    ],
)
def test_numbers_read_well(run: Callable[..., Any], call: str, said: str) -> None:
    names = "duration, amount, share, shortened, intervalText, printable, time"
    assert run("format.js", names, f"return {call};") == said


def test_labels_keep_the_end_of_a_name(run: Callable[..., Any]) -> None:
    code = "return [30, 15, 9, 5, 1].map((columns) => fitting('shop.views.View.handle', columns));"
    assert run("flamegraph_paint.js", "fitting", code) == [
        "shop.views.View.handle",
        "View.handle",
        "handle",
        "hand\u2026",
        "",
    ]


def test_state_is_what_its_address_says(run: Callable[..., Any]) -> None:
    code = """
      const state = { ...parse("#v=1&view=flame&own=1&q=a%20b%26c&x=1&theme=pink"), kind: "cpu" };
      return [state.view, state.own, state.q, state.theme, "x" in state, parse(format(state)), state, format(parse(""))];
    """
    view, own, query, theme, has_x, again, state, empty = run("state.js", "parse, format", code)
    assert (view, own, query, theme, has_x) == ("flame", True, "a b&c", "auto", False)
    assert again == state
    assert empty == "#v=1"


# Rows of spans: of a request with a query in it; of a task that it has started and that goes on; and of a job in another process.
SPANS = """
  const MS = 1e6;
  const profile = {
    strings: ["", "t", "request", "query", "task", "job"],
    spans: {
      name: [2, 3, 4, 5], trace: [1, 1, 1, 1], id: [0, 0, 0, 0], parent: [-1, 0, 0, 0], root: [0, 0, 0, 3],
      status: [0, 0, 0, 2], start_ns: [0, 10 * MS, 50 * MS, 60 * MS], duration_ns: [100 * MS, 20 * MS, 900 * MS, 400 * MS],
    },
    kinds: [
      { name: "wall", span: [0, 1, 2, 3], node: [0, 0, 0, 0], weight: [30 * MS, 15 * MS, 800 * MS, 300 * MS], count: [1, 1, 1, 1] },
    ],
  };
  const spans = new Spans(profile);
  const ledger = (row, children) => {
    const { duration, wall, waiting, isParallel, hasOutlived } = spans.ledger(row, children);
    return [duration / MS, wall / MS, waiting / MS, isParallel, hasOutlived];
  };
"""


class TestSpans:
    def test_what_ends_later_or_is_elsewhere_is_not_their_time(
        self, run: Callable[..., Any]
    ) -> None:
        found = run("spans.js", "Spans", f"{SPANS} return [ledger(0, true), ledger(0, false)];")
        assert found == [[100, 45, 55, False, True], [80, 30, 50, False, False]]

    def test_of_a_trace_the_longest_way_through_a_process_stands_for_it(
        self, run: Callable[..., Any]
    ) -> None:
        code = "const [t] = spans.traces; return [spans.name(t.root), t.count, t.errors, t.duration / MS, t.wall / MS];"
        assert run("spans.js", "Spans", f"{SPANS} {code}") == ["job", 4, 1, 400, 300]
