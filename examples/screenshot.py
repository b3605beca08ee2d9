"""The picture in the README: the report of what `make demo` has left, at an ordinary trace of the slowest endpoint that was on threads for long.

python -m examples.screenshot demo-out --out docs/images
"""

import argparse
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import sync_playwright

from otelprof.cli.inputs import Loaded, load
from otelprof.model import Profile
from otelprof.report import write_report
from tests.e2e.browser import chromium

_CHECKOUT = Path(__file__).parents[1]
_SIZE = {"width": 1280, "height": 800}
_PAINTED = "#report[data-state=painted]"
_MAX_DEPTH = 60  # of a stack of the shop
_MIN_SAMPLED = 0.5  # of a span's duration: a flame graph of what only waited shows little


def main() -> int:
    """Write a picture for each theme; 0 if it could be done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profiles", type=Path, help="a directory of profiles with their spans")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    browser = chromium()
    if browser is None:
        print("screenshot: no Chromium: run `make browser`", file=sys.stderr)
        return 1
    shown = load([options.profiles])
    span = _slowest(shown)
    profiles = [_elsewhere(profile) for profile in shown.profiles]
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        report = Path(directory) / "report.html"
        write_report(profiles, shown.spans, report)
        # It refuses to run as root otherwise, and opens nothing but our own page.
        running = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for theme in ("light", "dark"):
            page = running.new_page(viewport={"width": _SIZE["width"], "height": _SIZE["height"]})
            page.goto(f"{report.as_uri()}#v=1&trace={span}&scope=span:{span}&theme={theme}")
            page.wait_for_selector(_PAINTED)
            page.locator(".fg").focus()
            for _ in range(_MAX_DEPTH):  # to the leaf that took most
                page.keyboard.press("ArrowDown")
            page.evaluate("document.activeElement.blur()")
            picture = options.out / f"report-{theme}.png"
            page.screenshot(path=picture)
            print(f"screenshot: {picture}, {picture.stat().st_size:,} bytes")
        running.close()
    return 0


def _elsewhere(profile: Profile) -> Profile:
    """The same as if the checkout were in a directory that says nothing of this machine."""
    strings = tuple(text.replace(str(_CHECKOUT), "/srv/shop") for text in profile.tables.strings)
    return replace(profile, tables=replace(profile.tables, strings=strings))


def _slowest(shown: Loaded) -> str:
    """The ids, as the report's addresses have them, of the root span in the middle of those of the slowest name.

    Only spans count that were sampled for most of their time.
    """
    sampled_ns: Counter[bytes] = Counter()
    for profile in shown.profiles:
        if profile.kind == "wall":
            for link, wall_ns in zip(profile.link, profile.column("wall"), strict=True):
                sampled_ns[profile.tables.links[link].span_id] += wall_ns
    roots: dict[str, list[tuple[int, str]]] = {}
    for span in shown.spans:
        duration_ns = span.end_unix_ns - span.start_unix_ns
        if not span.parent_span_id and sampled_ns[span.span_id] >= _MIN_SAMPLED * duration_ns:
            ids = f"{span.trace_id.hex()}:{span.span_id.hex()}"
            roots.setdefault(span.name, []).append((duration_ns, ids))
    slowest = max(map(sorted, roots.values()), key=lambda each: each[len(each) // 2])
    return slowest[len(slowest) // 2][1]


if __name__ == "__main__":
    sys.exit(main())
