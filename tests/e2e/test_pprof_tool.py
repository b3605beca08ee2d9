"""google/pprof's own tool opens what the demo wrote, and a small profile made by hand."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from otelprof.formats import pprof as pprof_format
from tests.support.demo import Demo, run_demo
from tests.support.profiles import LEAF, ROOT, Row, cpu_and_wall, profile_of, row, rows_of
from tests.support.programs import OTELPROF, run

pytestmark = pytest.mark.backend

HOT = "examples.shop.business.rank_customers"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return run_demo(tmp_path_factory.mktemp("demo"), "--seconds", "6", OTELPROF_FLUSH="1h")


@pytest.fixture
def profile(demo: Demo, tmp_path: Path) -> Path:
    """All profiles of the demo as one: its server flushes when it has shut down, and once more when its process ends."""
    merged = tmp_path / "merged.pb.gz"
    assert run([OTELPROF, "export", demo.directory, "-o", merged], tmp_path).code == 0
    return merged


def milliseconds(text: str) -> float:
    """Pprof's `1.52s` or `320ms`."""
    match = re.fullmatch(r"([\d.]+)(ms|s|mins)", text)
    assert match, text
    return float(match[1]) * {"ms": 1.0, "s": 1e3, "mins": 6e4}[match[2]]


def test_top_shows_the_hot_function_first_with_our_cpu_time(
    demo: Demo, profile: Path, pprof: Callable[..., str]
) -> None:
    top = pprof("-top", "-nodecount=5", profile)
    assert "Type: cpu" in top
    first = next(line.split() for line in top.splitlines() if HOT in line)
    rows = {time.function: time for time in demo.span("GET /report").functions.values()}
    assert milliseconds(first[0]) == pytest.approx(rows[HOT].self_cpu_ns / 1e6, rel=0.01)


def test_top_of_wall_time(profile: Path, pprof: Callable[..., str]) -> None:
    assert "threading.Condition.wait" in pprof("-top", "-sample_index=wall", profile)


def test_traces_carry_trace_and_span_ids_that_ran(
    demo: Demo, profile: Path, pprof: Callable[..., str]
) -> None:
    traces = pprof("-traces", profile)
    ids = set(re.findall(r"span_id:\s+([0-9a-f]{16})", traces))
    assert ids
    assert ids <= {span.span_id.hex() for span in demo.shown.spans}
    trace_ids = set(re.findall(r"trace_id:\s+([0-9a-f]{32})", traces))
    assert trace_ids <= {span.trace_id.hex() for span in demo.shown.spans}


def test_tagfocus_on_a_span_id_leaves_what_ran_in_that_span(
    demo: Demo, profile: Path, pprof: Callable[..., str]
) -> None:
    cpu = next(p for p in demo.shown.profiles if p.kind == "cpu")
    by_span: Counter[str] = Counter()
    for link, weight in zip(cpu.link, cpu.column("cpu"), strict=True):
        if link:
            by_span[cpu.tables.links[link].span_id.hex()] += weight
    span_id, cpu_ns = by_span.most_common(1)[0]
    top = pprof("-top", "-unit=ns", f"-tagfocus=span_id={span_id}", profile)
    shown = re.search(r"Showing nodes accounting for (\d+)ns,", top)
    assert shown
    assert int(shown[1]) == cpu_ns
    assert HOT in top


MS = 1_000_000


@pytest.fixture
def two_columns(tmp_path: Path) -> Path:
    """Two expressions of one line, and how long each took."""
    profile = profile_of(
        row(LEAF, ROOT, values=(1, 10 * MS)),
        row(LEAF._replace(column=30), ROOT, values=(2, 20 * MS)),
    )
    path = tmp_path / "two.pb.gz"
    path.write_bytes(pprof_format.encode([profile]))
    return path


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ((), {LEAF.function: 30}),
        (("-lines",), {f"{LEAF.function} /srv/app/db.py:7": 30}),
        (
            ("-lines", "-showcolumns"),
            {
                f"{LEAF.function} /srv/app/db.py:7:12": 10,
                f"{LEAF.function} /srv/app/db.py:7:30": 20,
            },
        ),
    ],
    ids=["functions", "lines", "columns"],
)
def test_columns_are_told_apart_where_they_are_asked_for(
    options: tuple[str, ...],
    rows: dict[str, int],
    two_columns: Path,
    pprof: Callable[..., str],
) -> None:
    top = pprof("-top", "-unit=ms", *options, two_columns)
    found = re.findall(r"^ +([\d.]+)ms .*% +(app\.db\S+.*)$", top, re.MULTILINE)
    assert {name: float(flat) for flat, name in found} == rows, top


class Sample(NamedTuple):
    """What tells samples apart: `function file:line:column`, leaf first, and labels."""

    places: tuple[str, ...]
    labels: frozenset[tuple[str, str]]


def raw_samples(raw: str) -> dict[Sample, list[int]]:
    """The values of each sample in what `-raw` prints."""
    samples, _, rest = raw.partition("Samples:\n")[2].partition("Locations\n")
    places = {
        number: f"{function} {place}"
        for number, function, place in re.findall(
            r"^ +(\d+): 0x0 M=1 (\S+) (\S+) s=", rest, re.MULTILINE
        )
    }
    found: dict[Sample, list[int]] = {}
    for values, stack, labels in re.findall(
        r"^ +(\d[ \d]*): ([\d ]+)\n((?: +\w+:\[.*\n)?)", samples, re.MULTILINE
    ):
        sample = Sample(
            tuple(places[number] for number in stack.split()),
            frozenset(re.findall(r"(\w+):\[(\w+)\]", labels)),
        )
        assert sample not in found
        found[sample] = [int(value) for value in values.split()]
    return found


def sample_of(written: Row) -> Sample:
    link = written.link
    ids = {
        "trace_id": link.trace_id,
        "span_id": link.span_id,
        "local_root_span_id": link.local_root_span_id,
    }
    labels = {*written.labels, *((name, value.hex()) for name, value in ids.items() if any(value))}
    places = (f"{p.function} {p.filename}:{p.line}:{p.column}" for p in written.places)
    return Sample(tuple(places), frozenset(labels))


def test_raw_is_what_was_written(tmp_path: Path, pprof: Callable[..., str]) -> None:
    cpu, wall = cpu_and_wall()
    path = tmp_path / "raw.pb.gz"
    path.write_bytes(pprof_format.encode([cpu, wall]))
    raw = pprof("-raw", path)
    assert "PeriodType: cpu nanoseconds\nPeriod: 10000000\n" in raw
    assert "Time: 2023-11-14 22:13:20 +0000 UTC\nDuration: 15s\n" in raw
    assert "samples/count cpu/nanoseconds[dflt] wall/nanoseconds\n" in raw
    found = raw_samples(raw)
    for column, profile in ((1, cpu), (2, wall)):
        written = {sample_of(each): each.values[1] for each in rows_of(profile)}
        assert {key: values[column] for key, values in found.items() if values[column]} == written
