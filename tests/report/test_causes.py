"""What the page says made spans slow is what the command line says."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import otelprof.report
from otelprof.model import Link, Profile, SpanRecord
from otelprof.report.columns import columns_of
from otelprof.span_table import WAITING, by_span, main_cause
from tests.support import shop_report
from tests.support.large_tree import large_tree
from tests.support.origins import FILES
from tests.support.pages import served
from tests.support.profiles import START_UNIX_NS, Place, profile_of, row

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MODULES = Path(otelprof.report.__file__).parent / "page"
CODE = """async ([columns, kindName]) => {
  const { Profile } = await import("/profile.js");
  const { Spans } = await import("/spans.js");
  const { causesOf, WAITING } = await import("/causes.js");
  const profile = new Profile(columns);
  const spans = new Spans(profile);
  const groups = new Map();
  const groupOf = (span) => {
    const name = spans.name(spans.entry[span]);
    if (!groups.has(name)) groups.set(name, { name });
    return groups.get(name);
  };
  const said = {};
  for (const [group, cause] of causesOf(profile, spans, profile.kindNamed(kindName), groupOf)) {
    const name = cause.function === WAITING ? "(waiting, not sampled)" : profile.functionName(cause.function);
    const spanFunction = cause.spanFunction ? profile.functionName(cause.spanFunction) : "";
    said[group.name] = [name, cause.span, spanFunction, cause.weight / cause.all];
  }
  return said;
}"""
MS = 1_000_000
Case = tuple[list[Profile], list[SpanRecord]]


@pytest.fixture(scope="module")
def evaluate(chromium: "Browser") -> Iterator[Callable[..., Any]]:
    """Runs code in a page from which the modules of the report can be imported."""
    with served(MODULES) as root:
        page = chromium.new_page()
        page.goto(f"{root}/colours.css")  # any page of this origin
        yield page.evaluate
        page.close()


def of_a_loop() -> Case:
    """A loop that `main` runs, a request that a library handles in it, and one that waits in its child span."""
    main = Place("app.main", "/srv/app/main.py", 1, 20)
    select = Place("selectors.select", "/usr/lib/python3.11/selectors.py", 400, 450)
    handle = Place("app.handle", "/srv/app/views.py", 1, 5)
    render = Place("web.render", "/venv/lib/python3.11/site-packages/web.py", 1, 2)

    def link(number: int) -> Link:
        return Link(bytes([number] * 16), bytes([number] * 8), bytes([number] * 8))

    def span(number: int, parent: int, name: str, ms: int) -> SpanRecord:
        ids = (
            bytes([number] * 8),
            bytes([parent] * 8) if parent else b"",
            bytes([parent or number] * 8),
        )
        trace_id = bytes([parent or number] * 16)
        return SpanRecord(
            trace_id, *ids, name, 2, "", 0, START_UNIX_NS, START_UNIX_NS + ms * MS, "MainThread"
        )

    wall = profile_of(
        row(select, main, values=(90, 900 * MS)),
        row(render, main, values=(6, 60 * MS), link=link(1)),
        row(render, handle, main, values=(4, 40 * MS), link=link(1)),
        row(render, handle, main, values=(1, 10 * MS), link=Link(bytes([2] * 16), bytes([3] * 8))),
        kind="wall",
    )
    cpu = profile_of(row(render, handle, main, values=(4, 40 * MS), link=link(1)))
    spans = [span(1, 0, "GET /", 110), span(2, 0, "GET /far", 100), span(3, 2, "GET", 80)]
    return [wall, cpu], [*spans, span(4, 0, "GET /short", 20)]


@pytest.mark.parametrize("kind", ["wall", "cpu"])
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(lambda: (shop_report.profiles(), shop_report.spans()), id="shop"),
        pytest.param(of_a_loop, id="loop"),
        pytest.param(lambda: large_tree(2_000, spans=50), id="large"),
    ],
)
def test_both_say_the_same(
    evaluate: Callable[..., Any], case: Callable[[], Case], kind: str
) -> None:
    profiles, spans = case()
    said = evaluate(CODE, [columns_of(profiles, spans), kind])
    entries = {span.name for span in spans if span.span_id == span.local_root_span_id}
    expected = {
        time.name: [*cause[:3], pytest.approx(cause.share)]
        for time in by_span([p for p in profiles if p.kind == kind], spans)
        if time.name in entries and (cause := main_cause(time))
    }
    assert said == expected
    assert said


def test_waiting_is_said_of_a_request_and_its_child(evaluate: Callable[..., Any]) -> None:
    profiles, spans = of_a_loop()
    said = evaluate(CODE, [columns_of(profiles, spans), "wall"])
    assert said["GET /far"] == [WAITING, "GET", "app.handle", 0.9]
    assert said["GET /"][0] == "web.render"
    assert "GET /short" not in said


def test_both_know_whose_code_it_is(evaluate: Callable[..., Any]) -> None:
    places = [Place(name, filename, 1, 1) for name, filename, _ in FILES]
    columns = columns_of([profile_of(row(*places, values=(1, MS)))], [])
    said = evaluate(
        """async (columns) => {
          const { CATEGORIES, Profile } = await import("/profile.js");
          const profile = new Profile(columns);
          const of = (row) => [profile.strings[profile.functions.name[row]], profile.strings[profile.functions.file[row]]];
          return Array.from(profile.category, (category, row) => [...of(row), CATEGORIES[category]]);
        }""",
        columns,
    )
    assert {(name, file, category) for name, file, category in said} == set(FILES)
