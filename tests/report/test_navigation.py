"""The ways through the page: keyboard, search, zoom, links, themes, in the browser."""

import pytest

from tests.support.pages import ReportPage
from tests.support.shop_report import EXECUTE, HANDLE, MAIN, RANK, TRACE, profiles, spans

# Text on boxes and on grounds that state something must be readable: WCAG 2.1, 1.4.3.
MIN_CONTRAST = 4.5

CONTRAST = """
([ink, ground]) => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const light = (name) => {
    context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    context.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [low, high] = [light(ink), light(ground)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}
"""
BOXES = [f"--fg-{family}{shade}" for family in ("app", "lib", "std", "none") for shade in range(4)]


@pytest.fixture
def shop(opened: ReportPage) -> ReportPage:
    opened.open(profiles(), spans(), "view=flame")
    return opened


def pixel(shop: ReportPage, left: float, row: int) -> str:
    """The colour in the canvas at a part of its width, in the middle of a row's upper edge."""
    shop.evaluate("new Promise((painted) => requestAnimationFrame(() => setTimeout(painted)))")
    found = shop.evaluate(
        f"""(() => {{
          const canvas = document.querySelector(".fg canvas");
          const data = canvas.getContext("2d").getImageData({left} * canvas.width, {row} * 20 + 3, 1, 1).data;
          return [...data].slice(0, 3).map((part) => part.toString(16).padStart(2, "0")).join("");
        }})()"""
    )
    return f"#{found}"


def colour(shop: ReportPage, name: str) -> str:
    return str(
        shop.evaluate(
            f"getComputedStyle(document.documentElement).getPropertyValue('{name}').trim()"
        )
    )


class TestKeyboard:
    def test_alone_walks_to_a_leaf_and_zooms(self, shop: ReportPage) -> None:
        keyboard = shop.page.keyboard
        for _ in range(40):  # from the top of the page, as somebody without a mouse comes in
            keyboard.press("Tab")
            if shop.evaluate("document.activeElement.classList.contains('fg')"):
                break
        for name in (MAIN, HANDLE, RANK, RANK):
            keyboard.press("ArrowDown")
            assert name.function in shop.text(".dock .name")
        keyboard.press("ArrowDown")  # there is nothing below a leaf
        assert "wall self 100 ms" in shop.text(".dock")
        keyboard.press("Enter")
        assert shop.texts(".crumbs button")[-1] == "rank"
        keyboard.press("Escape")
        assert len(shop.texts(".crumbs button")) == 4
        keyboard.press("0")
        assert shop.texts(".crumbs button") == []

    def test_goes_to_neighbours(self, shop: ReportPage) -> None:
        shop.page.locator(".fg").focus()
        for key, name in (
            ("ArrowDown", MAIN.function),
            ("ArrowRight", "threading.Condition.wait"),
            ("ArrowRight", "threading.Condition.wait"),
            ("Home", MAIN.function),
            ("End", "threading.Condition.wait"),
            ("ArrowUp", "Whole profile"),
        ):
            shop.page.keyboard.press(key)
            assert shop.text(".dock .name") == name

    def test_turns_with_the_graph(self, shop: ReportPage) -> None:
        shop.page.keyboard.press("u")
        shop.page.locator(".fg").focus()
        shop.page.keyboard.press("ArrowUp")
        assert shop.text(".dock .name") == MAIN.function

    def test_chooses_views_kinds_and_help(self, shop: ReportPage) -> None:
        shop.page.keyboard.press("c")
        assert "CPU total 430 ms (100 %)" in shop.text(".dock")
        shop.page.keyboard.press("3")
        assert shop.text(".tabs [aria-current=page]") == "Functions"
        shop.page.keyboard.press("?")
        assert "Keys" in shop.text("dialog")
        shop.page.keyboard.press("Escape")
        shop.page.locator("dialog").wait_for(state="hidden")

    def test_types_into_the_search_without_other_effects(self, shop: ReportPage) -> None:
        shop.page.keyboard.press("/")
        shop.page.keyboard.type("3cut")
        assert shop.page.get_by_role("searchbox").input_value() == "3cut"
        assert shop.text(".tabs [aria-current=page]") == "Flame graph"


class TestMouse:
    def test_chooses_and_zooms(self, shop: ReportPage) -> None:
        canvas = shop.page.locator(".fg canvas")
        canvas.click(position={"x": 300, "y": 30})
        assert shop.text(".dock .name") == MAIN.function
        canvas.dblclick(position={"x": 300, "y": 30})
        assert shop.texts(".crumbs button") == ["Whole profile", "main"]
        canvas.click(position={"x": 300, "y": 10})  # what stands above is the way back
        assert shop.texts(".crumbs button") == []

    def test_sees_the_numbers_of_a_box(self, shop: ReportPage) -> None:
        shop.page.locator(".fg canvas").hover(position={"x": 300, "y": 30})
        tip = shop.text(".fg-tooltip")
        assert tip.startswith("shop.main at /srv/shop/main.py:1 wall total 720 ms (59.0 %)")
        assert "CPU total 390 ms samples 72 of 122 share, 95 % sure 50.1\u201367.3 %" in tip
        assert tip.endswith("code application")


class TestSearch:
    def test_highlights_and_says_the_share(self, shop: ReportPage) -> None:
        shop.page.get_by_role("searchbox").fill("rank")
        # 400 of 1220 ms: the recursion in it counts once.
        assert shop.text(".found").startswith("1 match: 32.8 % of what is shown (400 ms of 1.22 s")
        assert pixel(shop, 0.9, 1) == colour(shop, "--fg-dim")

    def test_goes_from_match_to_match(self, shop: ReportPage) -> None:
        shop.page.get_by_role("searchbox").fill("rank")
        shop.page.keyboard.press("Enter")
        assert "wall total 400 ms" in shop.text(".dock")
        shop.page.keyboard.press("Enter")
        assert "wall total 100 ms" in shop.text(".dock")
        shop.page.keyboard.press("Shift+Enter")
        assert "wall total 400 ms" in shop.text(".dock")

    @pytest.mark.parametrize(
        ("query", "matches"),
        [("RANK", 0), ("Cursor", 1), ("cursor", 1), ("ranking.py:7", 1), (".*", 0), ("(", 0)],
    )
    def test_is_plain_text_and_a_capital_means_one(
        self, shop: ReportPage, query: str, matches: int
    ) -> None:
        shop.page.get_by_role("searchbox").fill(query)
        assert shop.text(".found").startswith(f"{matches} match")


class TestLinks:
    def test_restore_all_after_a_reload(self, shop: ReportPage) -> None:
        scope = f"span:{TRACE.hex()}:{'01' * 8}"
        shop.go(f"view=flame&scope={scope}&q=rank&theme=dark")
        shop.page.locator(".fg").focus()
        for key in ("ArrowDown", "ArrowDown", "Enter", "ArrowDown"):
            shop.page.keyboard.press(key)
        before = [shop.texts(part) for part in (".dock", ".crumbs", ".found", ".pills")]
        link = str(shop.evaluate("location.hash"))
        shop.page.reload()
        shop.wait()
        assert [shop.texts(part) for part in (".dock", ".crumbs", ".found", ".pills")] == before
        assert shop.evaluate("location.hash") == link
        assert shop.evaluate("document.documentElement.dataset.theme") == "dark"
        assert "handle" in before[1][0]

    def test_to_a_place_hold_in_a_report_of_another_run(self, shop: ReportPage) -> None:
        shop.page.locator(".fg").focus()
        for key in ("ArrowDown", "ArrowDown", "Enter"):
            shop.page.keyboard.press(key)
        link = str(shop.evaluate("location.hash")).removeprefix("#")
        shop.open(profiles()[1:], [], link)  # other tables, other numbers of the same functions
        assert shop.texts(".crumbs button")[-1] == "handle"

    def test_to_a_place_that_is_not_there_say_so(self, shop: ReportPage) -> None:
        shop.go("view=flame&zoom=0123456789abcd")
        assert "zooms into a call path that these samples do not have" in shop.text(".notice")

    def test_that_make_no_sense_show_something(self, shop: ReportPage) -> None:
        shop.go("view=nonsense&kind=%F0&scope=what&theme=pink&constructor=1&__proto__=2&sort=x")
        shop.go("view=functions&sort=nonsense&thread=nobody&lines=7")
        assert shop.texts("tbody .name")

    def test_back_undoes_a_zoom(self, shop: ReportPage) -> None:
        shop.page.locator(".fg").focus()
        for key in ("ArrowDown", "Enter"):
            shop.page.keyboard.press(key)
        zoomed = shop.page.locator(".crumbs button").last
        assert zoomed.inner_text() == "main"
        shop.page.go_back()
        zoomed.wait_for(state="detached")
        shop.page.go_forward()
        zoomed.wait_for()
        assert zoomed.inner_text() == "main"


class TestThemes:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_follow_the_system(self, shop: ReportPage, scheme: str) -> None:
        shop.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        shop.page.wait_for_selector(f"html[data-theme={scheme}]")
        assert pixel(shop, 0.999, 0) == colour(shop, "--fg-all")

    def test_are_chosen_by_a_button(self, shop: ReportPage) -> None:
        shop.page.emulate_media(color_scheme="dark")
        shop.page.get_by_role("button", name="auto").click()
        assert shop.evaluate("document.documentElement.dataset.theme") == "light"
        shop.page.get_by_role("button", name="light").click()
        assert shop.evaluate("document.documentElement.dataset.theme") == "dark"
        assert "theme=dark" in str(shop.evaluate("location.hash"))

    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_can_be_read(self, shop: ReportPage, theme: str) -> None:
        shop.go(f"view=flame&theme={theme}")
        pairs = [("--fg-text", box) for box in (*BOXES, "--fg-all")]
        pairs += [("--fg-dimText", "--fg-dim"), ("--ink", "--ground"), ("--ink", "--notice")]
        pairs += [("--faint", "--ground"), ("--faint", "--raised"), ("--accent", "--ground")]
        pairs += [("--error", "--ground")]
        poor = {pair: shop.page.evaluate(CONTRAST, list(pair)) for pair in pairs}
        assert {pair: ratio for pair, ratio in poor.items() if ratio < MIN_CONTRAST} == {}


class TestSize:
    def test_leaves_no_frame_empty(self, shop: ReportPage) -> None:
        corner = shop.evaluate(
            """new Promise((seen) => requestAnimationFrame(() => {
              const canvas = document.querySelector(".fg canvas");
              canvas.closest(".fg-scroller").style.maxHeight = "300px";
              setTimeout(() => seen([canvas.height, canvas.getContext("2d").getImageData(5, 3, 1, 1).data[3]]));
            }))"""
        )
        assert corner == [300, 255]


class TestThreads:
    def test_are_chosen(self, shop: ReportPage) -> None:
        shop.page.get_by_role("combobox", name="Thread").select_option("worker")
        assert "wall total 500 ms (100 %)" in shop.text(".dock")
        shop.page.get_by_role("button", name="All threads").click()
        assert "wall total 1.22 s (100 %)" in shop.text(".dock")


class TestLines:
    def test_are_boxes_of_their_own(self, shop: ReportPage) -> None:
        shop.page.get_by_role("button", name="lines").click()
        shop.page.get_by_role("searchbox").fill(EXECUTE.function)
        shop.page.keyboard.press("Enter")
        assert f"{EXECUTE.function}:{EXECUTE.line}" in shop.text(".dock .name")
