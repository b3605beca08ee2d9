"""Names are input of anybody: nothing in them runs, leaves the page, or forges what stands around it."""

from dataclasses import replace

import pytest

from otelprof.model import Profile, SpanRecord
from tests.support.pages import ReportPage
from tests.support.profiles import START_UNIX_NS, Place, profile_of, row
from tests.support.shop_report import RANK, SLOW, TRACE, profiles, spans

MS = 1_000_000
HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    "--></style></title><img src=x onerror='window.hacked = 1'>",
    "<svg onload=window.hacked=1>",
    '"><a href=javascript:window.hacked=1 id=report>x</a>',
    "{script}{columns}",
    "\\g<0>$&${window.hacked=1}",
    "right\u202eto left\u2066",
    "nul\x00bell\x07\x1b[31m\u2028",
    "lone\udcff",
    "__proto__",
    "constructor",
    "long" * 25_000,
    "." * 100_000,
    "\u05d0\u05d1 \u6f22\u5b57 \U0001f525",
)
VIEWS = ("traces", "flame", "functions", "sandwich", "about", "flame&up=1&lines=1&theme=dark")


def profile() -> Profile:
    """Every hostile text as function, file, thread, attribute and loss."""
    rows = [
        row(Place(text, text, 1, 2), RANK, values=(1, 10 * MS), thread_name=text)
        for text in HOSTILE
    ]
    return replace(
        profile_of(*rows, kind="wall"),
        resource=(("service.name", HOSTILE[0]), *((text, text) for text in HOSTILE)),
        losses=tuple((text, 1) for text in HOSTILE),
    )


def records() -> list[SpanRecord]:
    """A span of every hostile name, all in one trace."""
    return [
        SpanRecord(
            trace_id=TRACE,
            span_id=bytes([number + 1] * 8),
            parent_span_id=b"" if number == 0 else SLOW,
            local_root_span_id=SLOW,
            name=text,
            kind=2,
            route=text,
            status=2,
            start_unix_ns=START_UNIX_NS,
            end_unix_ns=START_UNIX_NS + MS,
            thread=text,
        )
        for number, text in enumerate(HOSTILE)
    ]


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_in_a_name_runs(opened: ReportPage, view: str) -> None:
    opened.open([profile()], records(), f"view={view}")
    assert opened.evaluate("window.hacked") is None
    assert opened.evaluate("document.querySelectorAll('img, svg, iframe, object').length") == 0
    assert opened.evaluate("document.querySelectorAll('script').length") == 2
    assert opened.evaluate("document.querySelectorAll('a:not([href^=\"#\"])').length") == 0


def test_nothing_in_a_span_runs(opened: ReportPage) -> None:
    span = f"{TRACE.hex()}:{SLOW.hex()}"
    opened.open([profile()], records(), f"trace={span}&scope=span:{span}")
    assert len(opened.texts("[role=option]")) == len(HOSTILE)
    for option in opened.page.locator("[role=option]").all():
        option.click()
    assert opened.evaluate("window.hacked") is None


def test_nothing_in_an_address_runs(opened: ReportPage) -> None:
    opened.open(profiles(), spans())
    for text in ("<img src=x onerror=window.hacked=1>", "javascript:window.hacked=1"):
        for part in ("scope", "trace", "q", "fn", "thread", "zoom"):
            opened.go(f"view=flame&{part}={text}")
    assert opened.evaluate("window.hacked") is None


def test_names_show_what_would_hide_or_turn(opened: ReportPage) -> None:
    opened.open([profile()], records(), "view=functions")
    shown = " ".join(opened.texts("tbody"))
    assert "right\\u202eto left\\u2066" in shown
    assert "nul\\u0000bell\\u0007\\u001b[31m\\u2028" in shown
    assert "lone\\udcff" in shown
    assert HOSTILE[0] in shown
    assert "\u202e" not in opened.evaluate("document.body.innerText")
    assert "\u202e" not in opened.evaluate("document.title")


def test_a_long_name_is_cut_and_a_tooltip_stays_on_the_page(opened: ReportPage) -> None:
    opened.open([profile_of(row(Place(HOSTILE[-3], HOSTILE[-3], 1, 2), values=(60, 600 * MS)))])
    opened.page.locator(".fg canvas").hover(position={"x": 600, "y": 30})
    assert len(opened.text(".fg-title")) < 500
    box = opened.page.locator(".fg-tooltip").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 1280


class TestPolicy:
    """What the page could not do if there were a hole in it. The browser complains of each try."""

    @pytest.mark.parametrize(
        "attempt",
        [
            "const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; document.body.append(s)",
            "document.body.innerHTML = '<img src=x onerror=\"window.hacked = 1\">'",
            "document.body.setAttribute('onclick', 'window.hacked = 1'); document.body.click()",
            "setTimeout('window.hacked = 1')",
        ],
    )
    def test_runs_nothing_else(self, opened: ReportPage, attempt: str) -> None:
        opened.open(profiles(), spans())
        opened.evaluate(f"(() => {{ try {{ {attempt} }} catch {{}} }})()")
        opened.evaluate("new Promise((done) => setTimeout(done))")
        assert opened.evaluate("window.hacked") is None
        opened.complaints.clear()

    @pytest.mark.parametrize(
        "attempt",
        [
            "fetch('http://127.0.0.1:9/x')",
            "new Promise((_, fail) => { const i = new Image(); i.onerror = fail; i.src = 'http://127.0.0.1:9/x.png'; })",
            "new Promise((_, fail) => { const w = new WebSocket('ws://127.0.0.1:9/'); w.onerror = fail; })",
        ],
    )
    def test_asks_for_nothing(self, opened: ReportPage, attempt: str) -> None:
        opened.open(profiles(), spans())
        refused = opened.evaluate(
            f"(async () => {{ try {{ await {attempt} }} catch {{ return true }} }})()"
        )
        assert refused is True
        assert any("Content Security Policy" in text for text in opened.complaints)
        opened.complaints.clear()
        opened.requests[:] = opened.requests[:1]
