"""The pictures of backends' own pages in docs/backends.md: Jaeger's, with the links of a span, and Pyroscope's.

    python -m tests.e2e.screenshots --jaeger-page jaeger-ui/packages/jaeger-ui/build

The demo's shop runs under load, its traces go to Jaeger and its profiles to Pyroscope, both as the tests have them. Built
of Go modules they have no pages: Jaeger takes the one that jaeger-ui builds, and Pyroscope has one where it was built
with it. What has none is left out, and that is said.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from otelprof.cli.inputs import Loaded, load
from tests.e2e.backends import programs
from tests.e2e.backends.jaeger import UI_CONFIG, Jaeger, jaeger
from tests.e2e.backends.processes import answers
from tests.e2e.backends.pyroscope import Pyroscope, pyroscope
from tests.e2e.browser import required_chromium
from tests.e2e.link_patterns import links_of
from tests.support.programs import environment

_ROOT = Path(__file__).parents[2]
_LOAD_S = 12
_TIMEOUT_MS = 60_000
_KEY = "pyroscope.profile.id"
_MAX_BYTES = 200_000


def main() -> int:
    """Take the pictures; 0 if all could be taken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jaeger-page", type=Path, help="a directory with an index.html")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        jaeger(Path(directory), page=options.jaeger_page) as traces,
        pyroscope(Path(directory)) as profiles,
        sync_playwright() as playwright,
    ):
        shown = _shop(Path(directory), traces, profiles)
        sys.stdout.write(f"{programs.used()}\n")
        # It refuses to run as root otherwise, and opens nothing but pages of this machine.
        browser = playwright.chromium.launch(
            executable_path=required_chromium(), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(_TIMEOUT_MS)
        are_open = {
            "jaeger": _open_span(page, traces, shown)
            and _taken(page, options.out / "jaeger-span.png"),
            "pyroscope": _open_flame_graph(page, profiles)
            and _taken(page, options.out / "pyroscope-shop.png"),
        }
        browser.close()
    for name in (name for name, is_open in are_open.items() if not is_open):
        sys.stderr.write(f"screenshots: this {name} has no page\n")
    return 0 if all(are_open.values()) else 1


def _shop(directory: Path, traces: Jaeger, profiles: Pyroscope) -> Loaded:
    """What the shop was seen to do, once all of it has left."""
    out = directory / "out"
    command = [sys.executable, "-m", "examples.demo", "--seconds", str(_LOAD_S), "--out", str(out)]
    variables = {
        **traces.variables(),
        **profiles.push_variables,
        "OTELPROF_EXPORTER": "file,pyroscope",
        "OTELPROF_FLUSH": "2s",
        "OTELPROF_STATE_DIR": str(directory / "state"),
    }
    subprocess.run(
        command,
        cwd=_ROOT,
        env=environment(**variables),
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=300,
    )
    return load([out])


def _open_span(page: Page, traces: Jaeger, shown: Loaded) -> bool:
    """Show the span with the most CPU time, and its links. False if there is no page."""
    if answers(traces.query_url, 200, "placeholder for the Jaeger UI"):
        return False
    trace_id, span_id = _busiest(shown)
    page.goto(f"{traces.query_url}/trace/{trace_id}?uiFind={span_id}")
    page.get_by_text("Tags", exact=True).or_(page.get_by_text("Tags:")).first.click()
    row = page.get_by_role("row").filter(has_text=_KEY)
    row.get_by_text(span_id).click()
    (span,) = (each for each in traces.trace(trace_id, 1) if each.span_id == span_id)
    for text, url in links_of(span, UI_CONFIG).items():
        link = page.get_by_role("link", name=text)
        link.wait_for()
        if link.get_attribute("href") != url:
            raise ValueError(f"the page links to {link.get_attribute('href')}, not to {url}")
    return True


def _busiest(shown: Loaded) -> tuple[str, str]:
    """Trace id and span id in hex of what took the most CPU time."""
    cpu_ns: Counter[tuple[str, str]] = Counter()
    for profile in shown.profiles:
        if profile.kind == "cpu":
            for row, value in zip(profile.link, profile.column("cpu"), strict=True):
                link = profile.tables.links[row]
                if link.span_id:
                    cpu_ns[link.trace_id.hex(), link.span_id.hex()] += value
    ((ids, _),) = cpu_ns.most_common(1)
    return ids


def _open_flame_graph(page: Page, profiles: Pyroscope) -> bool:
    """Show what Pyroscope has of the shop. False if there is no page."""
    if not answers(profiles.url, 200, "<title>Pyroscope</title>"):
        return False
    page.goto(profiles.url)
    page.get_by_text("examples.shop.business.rank_customers").first.wait_for()
    return True


def _taken(page: Page, picture: Path) -> bool:
    """The page as it is, once its fonts are there and it stands still."""
    page.wait_for_load_state("networkidle")
    page.screenshot(path=picture, animations="disabled")
    sys.stdout.write(f"{picture}, {picture.stat().st_size:,} bytes\n")
    if picture.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{picture} is larger than {_MAX_BYTES:,} bytes")
    return True


if __name__ == "__main__":
    sys.exit(main())
