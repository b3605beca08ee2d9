"""A profile of 50,000 nodes: how soon it is seen, and that all of it can be reached."""

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.large_tree import large_tree
from tests.support.pages import ReportPage

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NODES = 50_000
# What loading and painting may take, in CPU time of all of the browser's processes: other work on the machine hardly
# changes it. Processes run side by side, so that where the machine is free the first paint takes less time than that.
MAX_CPU_S = 1.0
MAX_FIRST_PAINT_MS = 500
ATTEMPTS = 5
LOADS = "performance.getEntriesByName('otelprof:painted')[0].startTime"


@pytest.fixture
def large(opened: ReportPage) -> ReportPage:
    profiles, spans = large_tree(NODES, spans=200)
    opened.open(profiles, spans, "view=flame")
    return opened


def test_is_painted_at_once(large: ReportPage, chromium: "Browser") -> None:
    session: Any = chromium.new_browser_cdp_session()  # its own types leave out what it answers

    def cpu_s() -> float:
        processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
        return float(sum(process["cpuTime"] for process in processes))

    used_s: list[float] = []
    paints_ms: list[float] = []
    for _ in range(ATTEMPTS):
        before = cpu_s()
        large.go("view=flame")
        used_s.append(cpu_s() - before)
        paints_ms.append(float(large.evaluate(LOADS)))
    sys.stdout.write(f"first paint {min(paints_ms):.0f} ms, {min(used_s):.2f} s of CPU time\n")
    assert min(used_s) < MAX_CPU_S
    if os.getloadavg()[0] < (os.cpu_count() or 1):  # else the time is that of others
        assert min(paints_ms) < MAX_FIRST_PAINT_MS


def test_is_walked_to_its_deepest_leaf_by_the_keyboard(large: ReportPage) -> None:
    large.page.locator(".fg").focus()
    names: list[str] = []
    for _ in range(80):
        large.page.keyboard.press("ArrowDown")
        names.append(large.text(".dock"))
        if names[-2:-1] == names[-1:]:
            break
    else:
        pytest.fail("there is no leaf")
    assert len(names) > 20


def test_narrow_boxes_are_drawn_together_and_opened_by_a_double_click(large: ReportPage) -> None:
    many = large.evaluate(
        """(() => {
          const canvas = document.querySelector(".fg canvas");
          const box = canvas.getBoundingClientRect();
          for (let y = 10; y < box.height; y += 20) {
            for (let x = 1; x < box.width; x += 3) {
              canvas.dispatchEvent(new MouseEvent("mousemove", { clientX: box.left + x, clientY: box.top + y }));
              const title = document.querySelector(".fg-title")?.textContent ?? "";
              if (title.endsWith("narrow boxes")) return [x, y, title];
            }
          }
          return null;
        })()"""
    )
    assert many is not None
    x, y, _ = many
    large.page.locator(".fg canvas").dblclick(position={"x": x, "y": y})
    large.page.locator(".fg canvas").hover(position={"x": 640, "y": y})
    assert not large.text(".fg-title").endswith("narrow boxes")
