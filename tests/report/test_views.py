"""What the page shows of a profile of which everything is known, in the browser."""

import pytest

from tests.support.pages import ReportPage
from tests.support.profiles import profile_of, row
from tests.support.shop_report import (
    FAST,
    FAST_TRACE,
    HANDLE,
    MAIN,
    RANK,
    SELECT,
    SLOW,
    TRACE,
    profiles,
    spans,
)

SLOW_SPAN = f"{TRACE.hex()}:{SLOW.hex()}"
SELECT_SPAN = f"{TRACE.hex()}:{SELECT.hex()}"
MS = 1_000_000


@pytest.fixture
def shop(opened: ReportPage) -> ReportPage:
    opened.open(profiles(), spans())
    return opened


class TestOverview:
    def test_begins_with_the_slowest(self, shop: ReportPage) -> None:
        endpoints = shop.texts("table[aria-label=Endpoints] tbody tr")
        assert [row.split(" ")[1] for row in endpoints] == ["/slow", "/fast"]
        traces = shop.texts("table[aria-label='Slowest traces'] tbody tr")
        assert traces[0].startswith("GET /slow 11111111 1.00 s 390 ms 650 ms 350 ms (35.0 %) 2 1")
        assert traces[1].startswith("GET /fast 22222222 100 ms 0 ms 20.0 ms 80.0 ms (80.0 %) 1")

    def test_names_the_function_that_made_an_endpoint_slow(self, shop: ReportPage) -> None:
        slow, fast = shop.texts("table[aria-label=Endpoints] tbody tr")
        assert "ranking.rank 40.0 %" in slow
        assert "waiting, not sampled 80.0 %" in fast
        shop.go("kind=cpu")
        assert "ranking.rank 97.4 %" in shop.texts("table[aria-label=Endpoints] tbody tr")[0]

    def test_says_how_much_belongs_to_no_span(self, shop: ReportPage) -> None:
        outside = shop.texts(".outside li")
        assert outside[0].startswith("(no span) 40.0 ms CPU, 500 ms wall")
        assert outside[1].startswith("(span unknown) 0 ms CPU, 20.0 ms wall")
        assert outside[2].startswith("(span not ended or not recorded) 0 ms CPU, 30.0 ms wall")

    def test_leads_to_the_flame_graph_of_an_endpoint(self, shop: ReportPage) -> None:
        shop.page.get_by_role("link", name="GET /slow").first.click()
        assert "GET /slow (1 requests)" in shop.text(".pills")
        assert "wall total 650 ms (100 %)" in shop.text(".dock")

    def test_says_what_was_lost(self, shop: ReportPage) -> None:
        assert "losses: 3 truncated, 2 span_unknown" in shop.text(".summary")
        shop.page.locator(".losses").click()
        assert "span_unknown (wall) 2 samples whose span could not be proved" in shop.text(".about")

    def test_without_spans_is_the_flame_graph(self, opened: ReportPage) -> None:
        opened.open(profiles())
        assert "wall total 1.22 s (100 %)" in opened.text(".dock")
        opened.page.get_by_role("link", name="Traces").click()
        assert "No spans were recorded" in opened.text(".notice")


class TestTrace:
    def test_opens_by_a_click(self, shop: ReportPage) -> None:
        table = shop.page.get_by_role("table", name="Slowest traces")
        table.get_by_role("link", name="GET /slow").click()
        shop.page.get_by_role("option").first.wait_for()
        rows = shop.texts("[role=option]")
        assert [row.split(" ")[0] for row in rows] == ["GET", "SELECT"]
        assert "error" in rows[1]
        assert shop.page.locator("[role=option][aria-selected=true]").inner_text().startswith("GET")

    def test_says_how_much_of_a_span_was_waiting(self, shop: ReportPage) -> None:
        shop.go(f"trace={SLOW_SPAN}&scope=span:{SLOW_SPAN}")
        detail = shop.text(".span-detail")
        assert "1.00 s with its child spans in this process: on CPU 390 ms (39.0 %)" in detail
        assert "on a thread, not on CPU 260 ms (26.0 %)" in detail
        assert "waiting, not sampled 350 ms (35.0 %)" in detail

    def test_without_children_is_the_span_itself(self, shop: ReportPage) -> None:
        shop.go(f"trace={SLOW_SPAN}&scope=span:{SLOW_SPAN}")
        shop.page.get_by_role("button", name="without", exact=True).click()
        detail = shop.text(".span-detail")
        # 300 of the 1000 ms are the child's; 400 ms were sampled in the span itself.
        assert "700 ms that no child span covers" in detail
        assert "waiting, not sampled 300 ms (42.9 %)" in detail
        assert "wall total 400 ms (100 %)" in shop.text(".dock")

    @pytest.mark.parametrize(
        ("kind", "total"), [("wall", "wall total 250 ms"), ("cpu", "CPU total 10.0 ms")]
    )
    def test_flame_graph_is_exactly_that_of_the_span(
        self, shop: ReportPage, kind: str, total: str
    ) -> None:
        shop.go(f"trace={SLOW_SPAN}&scope=span:{SLOW_SPAN}&kind={kind}")
        shop.page.get_by_role("option", name="SELECT").click()
        assert f"{total} (100 %)" in shop.text(".dock")
        shop.page.get_by_role("link", name="Functions").click()
        names = shop.texts("tbody .name")
        assert sorted(names) == sorted(["shop.main", "shop.views.View.handle", "db.Cursor.execute"])

    def test_is_walked_by_the_keyboard(self, shop: ReportPage) -> None:
        shop.go(f"trace={SLOW_SPAN}&scope=span:{SLOW_SPAN}")
        shop.page.locator("[role=option][aria-selected=true]").focus()
        shop.page.keyboard.press("ArrowDown")
        assert shop.page.locator("[role=option]:focus").inner_text().startswith("SELECT")
        assert "SELECT" in shop.text(".span-detail")

    def test_without_a_sample_says_so(self, shop: ReportPage) -> None:
        fast = f"{FAST_TRACE.hex()}:{FAST.hex()}"
        shop.go(f"trace={fast}&scope=span:{fast}&kind=cpu")
        assert (
            "No CPU sample, which is taken every 10.0 ms, fell into this span of 100 ms"
            in shop.text(".span-detail")
        )

    def test_few_samples_are_said_to_be_few(self, shop: ReportPage) -> None:
        shop.go(f"trace={SLOW_SPAN}&scope=span:{SELECT_SPAN}")
        assert "Only 25 samples: shares are rough" in shop.text(".notices")

    def test_of_another_report_is_said_to_be_missing(self, shop: ReportPage) -> None:
        shop.go(f"trace={'99' * 16}:{'88' * 8}&scope=span:{'99' * 16}:{'88' * 8}")
        assert "is not in this report" in shop.text(".notice")


class TestFunctions:
    def test_are_sorted_by_their_own_time(self, shop: ReportPage) -> None:
        shop.go("view=functions")
        assert shop.texts("tbody .name")[:2] == ["threading.Condition.wait", RANK.function]

    def test_count_recursion_once(self, shop: ReportPage) -> None:
        shop.go("view=functions")
        rank = next(row for row in shop.texts("tbody tr") if RANK.function in row)
        assert rank.startswith("400 ms 32.8 % 400 ms 32.8 % 380 ms 380 ms")

    def test_are_sorted_by_a_click(self, shop: ReportPage) -> None:
        shop.go("view=functions")
        shop.page.get_by_role("button", name="wall total").click()
        assert shop.texts("tbody .name")[0] == MAIN.function

    def test_have_cpu_time_that_no_wall_sample_has(self, shop: ReportPage) -> None:
        shop.go("view=functions")
        between = next(row for row in shop.texts("tbody tr") if "(between samples)" in row)
        assert between.startswith("0 ms 0.0 % 0 ms 0.0 % 40.0 ms 40.0 ms")

    def test_are_filtered_by_the_search(self, shop: ReportPage) -> None:
        shop.go("view=functions&q=ranking.py")
        assert shop.texts("tbody .name") == [RANK.function]


class TestSandwich:
    def test_has_callers_above_and_callees_below(self, shop: ReportPage) -> None:
        shop.go("view=sandwich")
        shop.page.get_by_role("link", name=HANDLE.function).click()
        assert "wall total 670 ms (54.9 %), self 20.0 ms (1.6 %)" in shop.text(".sandwich-title")
        # From the function down to its heaviest callee, and up to its only caller.
        assert spoken(shop, ".callees", "ArrowDown").startswith(f"{RANK.function}, total 400 ms")
        assert spoken(shop, ".callers", "ArrowUp").startswith(f"{MAIN.function}, total 670 ms")

    def test_opens_from_the_flame_graph_by_a_key(self, shop: ReportPage) -> None:
        shop.go("view=flame")
        shop.page.locator(".fg").focus()
        for key in ("ArrowDown", "ArrowDown", "s"):
            shop.page.keyboard.press(key)
        assert HANDLE.function in shop.text(".sandwich-title")


def spoken(shop: ReportPage, graph: str, key: str) -> str:
    """What a screen reader is told after `key` in a flame graph."""
    shop.page.locator(graph).focus()
    shop.page.keyboard.press(key)
    said = shop.evaluate(
        f"document.getElementById(document.querySelector('{graph}')"
        ".getAttribute('aria-activedescendant')).textContent"
    )
    return str(said)


class TestEmpty:
    def test_profile_is_said_to_be_empty(self, opened: ReportPage) -> None:
        opened.open([profile_of()])
        assert "There are no CPU samples here" in opened.text(".view .notice")

    def test_report_is_said_to_be_empty(self, opened: ReportPage) -> None:
        opened.open([])
        assert "There are no samples in this report" in opened.text("main")

    def test_cpu_alone_does_not_claim_to_know_what_waited(self, opened: ReportPage) -> None:
        opened.open([profile_of(row(RANK, values=(3, 30 * MS)))], spans())
        said = opened.page.locator(".ledger").first.get_attribute("title")
        assert said is not None
        assert "waiting not known without wall samples" in said
