"""The demo, and whether its last lines and its report find slowness that was planted somewhere at random."""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from examples.shop.slowness import CPU_S, PLANTABLE_ENDPOINTS, PLANTABLE_FUNCTIONS
from otelprof.span_table import WAITING
from tests.support import pages
from tests.support.demo import Demo, run_demo
from tests.support.pages import ReportPage

if TYPE_CHECKING:
    from playwright.sync_api import Browser

METHODS = {"/checkout": "POST"}
# The function of each endpoint that takes the lock and runs the query.
JOBS = {
    "/products": "select_products",
    "/search": "log_search",
    "/quote": "save_quote",
    "/checkout": "reserve_stock",
    "/report": "select_customers",
}
BUSINESS = "examples.shop.business"
# Each run of the tests plants elsewhere; the seed is in the test's name.
SEED = random.SystemRandom().randrange(10_000)


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    with pages.chromium() as running:
        yield running


def span_name(endpoint: str) -> str:
    return f"{METHODS.get(endpoint, 'GET')} {endpoint}"


def cause_of(kind: str, function: str) -> tuple[str, str]:
    """What must be named: a function or waiting, and the child span that it was in."""
    return {
        "cpu": (f"{BUSINESS}.{function}", ""),
        "lock": (f"{BUSINESS}.{function}", ""),
        "sql": ("examples.shop.database.Database.rows", "SELECT"),
        "sleep": (WAITING, ""),
        "http": (WAITING, "GET"),
    }[kind]


class Planted(NamedTuple):
    """A demo of a shop that is slow in one place.

    Attributes:
        span: name of the spans that are slow.
        function: of `business`, on the stack while the shop is slow, or just before.
        cause: what must be named, as in `cause_of`.
    """

    kind: str
    span: str
    function: str
    cause: tuple[str, str]
    demo: Demo


@pytest.fixture(scope="module", params=sorted(PLANTABLE_ENDPOINTS), ids=lambda k: f"{k}-{SEED}")
def planted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """Slowness of each kind, somewhere."""
    kind: str = request.param
    choice = random.Random(f"{SEED}{kind}")
    endpoint = choice.choice(PLANTABLE_ENDPOINTS[kind])
    function = choice.choice(PLANTABLE_FUNCTIONS[endpoint]) if kind == "cpu" else JOBS[endpoint]
    plant = f"{endpoint}:{kind}" + (f":{function}" if kind == "cpu" else "")
    # One request at a time, so that nobody is slow because of somebody else.
    options = ("--seconds", "5", "--concurrency", "1")
    demo = run_demo(tmp_path_factory.mktemp(kind), *options, SHOP_SLOW=plant)
    return Planted(kind, span_name(endpoint), function, cause_of(kind, function), demo)


def test_the_last_lines_name_what_was_planted(planted: Planted) -> None:
    """The path of the report and three spans, of which the first is slow for this reason."""
    demo = planted.demo
    assert f"demo: report {demo.directory / 'report.html'}" in demo.output
    slowest = demo.slowest()
    assert len(slowest) == 3, demo.output
    *_, span, mostly_in = slowest[0]
    found = re.fullmatch(
        r"(.+) \d+%(?: in ([^\s,]+))?(?: of ([^\s,]+))?(?:, mostly not on CPU)?", mostly_in
    )
    assert found, demo.output
    assert (span, found[1], found[2] or "") == (planted.span, *planted.cause), demo.output
    if planted.kind == "http":
        assert found[3] == f"{BUSINESS}.ask_supplier", demo.output


def test_the_time_went_where_it_was_planted(planted: Planted) -> None:
    """On the CPU, blocked, or waiting."""
    demo = planted.demo
    slowest = demo.span(planted.span)
    if planted.kind == "cpu":
        # What is burnt is CPU time by the thread's own clock, however busy the machine is.
        assert slowest.cpu_ns > 0.6 * CPU_S * 1e9 * slowest.count, demo.output
    elif planted.kind == "lock":
        # Blocked on a thread: sampled there, but without CPU time.
        assert slowest.wall_ns > 0.5 * slowest.duration_ns, demo.output
        assert slowest.cpu_ns < 0.2 * slowest.duration_ns, demo.output
    elif planted.kind == "sql":
        assert slowest.wall_ns > 0.5 * slowest.duration_ns, demo.output
    else:
        assert slowest.waiting_ns > 0.6 * slowest.duration_ns, demo.output


def test_the_report_names_what_was_planted(planted: Planted, chromium: "Browser") -> None:
    """Its first endpoint, and an ordinary trace of that: the flame graph of its span, or where its time went."""
    context = chromium.new_context()
    report = ReportPage(context.new_page(), planted.demo.directory)
    report.go("")
    first = report.texts("table[aria-label=Endpoints] tbody tr")[0]
    assert first.startswith(f"{planted.span} ")
    name, child = planted.cause
    said = WAITING.strip("()") if name == WAITING else ".".join(name.split(".")[-2:])
    where = f" in {child}" if child else ""
    assert re.search(rf"{re.escape(said)} [\d.]+ %{where}", first), first
    traces = report.page.locator("table[aria-label='Slowest traces'] a", has_text=planted.span)
    traces.nth(traces.count() // 2).click()
    if name == WAITING:
        if child:
            report.page.get_by_role("option", name=f"{child}, level").click()
        detail = report.text(".span-detail")
        share = re.search(r"waiting, not sampled .*?\(([\d.]+) %\)", detail)
    else:
        report.page.get_by_role("searchbox").fill(f"{BUSINESS}.{planted.function}")
        detail = report.text(".found")
        share = re.search(r"match(?:es)?: ([\d.]+) %", detail)
    assert share, detail
    assert float(share[1]) > 50, detail
    assert report.complaints == []
    context.close()


def test_without_a_plant_the_known_slowness_is_named(tmp_path: Path) -> None:
    demo = run_demo(tmp_path, "--seconds", "6", "--concurrency", "1")
    report, quote, *_ = demo.slowest()
    assert report[-2] == "GET /report"
    assert report[-1].startswith(f"{BUSINESS}.rank_customers ")
    assert quote[-2] == "GET /quote"
    assert re.fullmatch(rf"{re.escape(WAITING)} \d+% in GET of {BUSINESS}.ask_supplier", quote[-1])
    requests = [span for span in demo.table() if "/" in span.name]
    assert demo.span("GET /report").cpu_ns > 0.6 * sum(span.cpu_ns for span in requests)
    for text in demo.output, demo.errors:
        assert "Traceback" not in text
