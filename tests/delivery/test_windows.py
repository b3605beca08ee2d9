"""Windows of readers, cut out of what the worker drains: they get all of their time, and take nothing from others."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from otelprof.delivery.windows import Reader, Segments, Window
from otelprof.model import Profile
from tests.support.pipelines import (
    PATIENCE_S,
    Bench,
    FakeClock,
    FakeExporter,
    numbers_of,
    running,
)
from tests.support.profiles import LEAF, ROOT, profile_of, row


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def exporter() -> FakeExporter:
    return FakeExporter()


@pytest.fixture
def bench(clock: FakeClock, exporter: FakeExporter) -> Iterator[Bench]:
    with running(clock, file=exporter) as found:
        yield found


def opened(bench: Bench, kind: str = "cpu") -> Window:
    window = Reader(bench.pipeline.read).open_window(kind, PATIENCE_S)
    assert window is not None
    return window


def closed(bench: Bench, window: Window) -> int:
    """What was in it: the sum of the numbers of its profiles."""
    assert Reader(bench.pipeline.read).close_window(window, PATIENCE_S)
    return sum(sum(profile.column("cpu")) for profile in window.profiles())


def test_a_window_has_what_is_collected_while_it_is_open(
    bench: Bench, clock: FakeClock, exporter: FakeExporter
) -> None:
    bench.collector.give()  # 1: before it
    first = opened(bench)
    bench.collector.give()  # 2
    second = opened(bench)
    bench.collector.give()  # 3
    clock.step(2.0)
    assert closed(bench, first) == 2 + 3
    bench.collector.give()  # 4
    assert closed(bench, second) == 3 + 4
    assert first.duration_ns == 2_000_000_000
    assert exporter.calls == [], "nothing leaves earlier than without them"
    bench.collector.give()  # 5
    clock.advance(bench.flush_s)
    assert numbers_of(exporter.delivered) == [1 + 2 + 3 + 4 + 5]
    assert len(exporter.delivered) == 1


def test_a_window_has_all_of_many_flushes(
    bench: Bench, clock: FakeClock, exporter: FakeExporter
) -> None:
    window = opened(bench)
    for _ in range(40):
        bench.collector.give()
        clock.advance(bench.flush_s)
    assert closed(bench, window) == sum(range(1, 41))
    assert numbers_of(exporter.delivered) == list(range(1, 41))


def test_a_window_has_one_kind(bench: Bench) -> None:
    window = opened(bench, "wall")
    bench.collector.give()
    assert closed(bench, window) == 0


def test_the_end_of_the_profiler_closes_windows(bench: Bench) -> None:
    window = opened(bench)
    bench.collector.give()
    assert bench.pipeline.shutdown(PATIENCE_S)
    assert window.is_closed.is_set()
    assert closed(bench, window) == 1
    # Nobody opens one any more, and nobody waits for that.
    late = Window("cpu")
    bench.pipeline.read(late)
    assert (late.is_open.is_set(), late.is_closed.is_set()) == (False, True)


def test_a_window_that_is_abandoned_is_forgotten(bench: Bench) -> None:
    window = opened(bench)
    window.abandon()
    bench.collector.give()
    opened(bench)
    assert window not in bench.pipeline._readings._windows
    assert window.profiles() == []


def test_a_reader_that_is_not_served_gives_up(clock: FakeClock) -> None:
    reader = Reader(lambda _: None)
    assert reader.open_window("cpu", 0.01) is None
    assert not reader.close_window(Window("cpu"), 0.01)
    assert reader.processed(profile_of(row(LEAF, values=(1, 1))), 0.01) is None


def test_what_readers_make_themselves_is_completed_and_processed(bench: Bench) -> None:
    given = profile_of(row(LEAF, ROOT, values=(1, 7)))
    (left,) = Reader(bench.pipeline.read).processed(given, PATIENCE_S) or []
    assert left.values == given.values
    assert dict(left.resource)["service.name"] == "shop"


def test_many_readers_at_once_get_the_same(bench: Bench, clock: FakeClock) -> None:
    with ThreadPoolExecutor(8) as pool:
        opening: list[Future[Window]] = [pool.submit(opened, bench) for _ in range(8)]
        windows = [future.result() for future in opening]
        bench.collector.give(3)
        closing = [pool.submit(closed, bench, window) for window in windows]
        assert [future.result() for future in closing] == [1 + 2 + 3] * 8


def test_segments_are_kept_in_few_parts_and_add_up() -> None:
    segments = Segments()
    for number in range(1, 100):
        segments.add([profile_of(row(LEAF, ROOT, values=(1, number)))])
        assert len(segments._segments) <= 16
    (whole,) = segments.take()
    assert (sum(whole.column("samples")), sum(whole.column("cpu"))) == (99, sum(range(100)))
    assert segments.take() == []


def test_what_is_of_one_window_stays_as_it_came() -> None:
    profiles: list[Profile] = [
        profile_of(row(LEAF, values=(1, 1))),
        profile_of(row(ROOT, values=(1, 1))),
    ]
    segments = Segments()
    segments.add(profiles)
    segments.add([])
    assert segments.take() == profiles
