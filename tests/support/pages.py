"""Pages in a real browser: Chromium, headless, driven by Playwright."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otelprof import report
from otelprof.model import Profile, SpanRecord
from tests.e2e import browser as programs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_PAINTED = "#report[data-state=painted]"
_PAINT_TIMEOUT_MS = 60_000
_TIMEOUT_MS = 20_000


@contextmanager
def chromium() -> Iterator["Browser"]:
    """The browser, started; a skip or a failure where it or Playwright is missing."""
    executable = programs.required_chromium()
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - it may be missing
    except ImportError:
        programs.missing("Playwright is not installed")
    with sync_playwright() as playwright:
        # It refuses to run as root otherwise, and opens nothing but our own pages.
        running = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        try:
            yield running
        finally:
            running.close()


class ReportPage:
    """A report that is opened from the disk.

    Attributes:
        page: to do with as a user would.
        complaints: errors and warnings that the page has caused, such as what its policy forbids.
        requests: all that it asked for.
    """

    def __init__(self, page: "Page", directory: Path) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._file = directory / "report.html"
        page.set_default_timeout(_TIMEOUT_MS)
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(
        self, profiles: Sequence[Profile], spans: Sequence[SpanRecord] = (), at: str = ""
    ) -> None:
        """Write the report and open it, at the address part `at`, such as `view=flame`."""
        report.write_report(profiles, spans, self._file)
        self.page.goto(self.url(at))
        self.wait()

    def go(self, at: str) -> None:
        """Load the page anew at another address."""
        self.page.goto("about:blank")
        self.page.goto(self.url(at))
        self.wait()

    def url(self, at: str) -> str:
        """The address of the file with `at`."""
        return f"{self._file.as_uri()}#{at}"

    def wait(self) -> None:
        """Return when the page has been painted."""
        self.page.wait_for_selector(_PAINTED, timeout=_PAINT_TIMEOUT_MS)

    def text(self, selector: str) -> str:
        """What can be read in the first visible element of `selector`, spaces as one."""
        return " ".join(self.page.locator(f"{selector} >> visible=true").first.inner_text().split())

    def texts(self, selector: str) -> list[str]:
        """The same of all visible elements."""
        found = self.page.locator(f"{selector} >> visible=true").all_inner_texts()
        return [" ".join(text.split()) for text in found]

    def evaluate(self, script: str) -> Any:
        """The value of `script` in the page."""
        return self.page.evaluate(script)


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Say nothing."""


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """The address under which the files in `directory` are, on this machine only."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="pages")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
