"""How a profiler goes on in a forked child: at once, and without holding it up."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import pytest

import otelprof
from otelprof import forks, parts, primitives
from otelprof.config import Config
from otelprof.threads import OwnThread, own_native_ids
from tests.support.pipelines import FakeCollector, FakeExporter

TIMEOUT_S = 30.0


class Noted(FakeCollector):
    """Notes what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.was_ours: list[bool] = []  # whether a thread of otelprof's asked

    def _note(self, call: str) -> None:
        self.calls.append(call)
        self.was_ours.append(threading.get_native_id() in own_native_ids())

    def start(self) -> None:
        self._note("start")

    def stop(self) -> None:
        self._note("stop")

    def pause(self) -> None:
        self._note("pause")

    def resume(self) -> None:
        self._note("resume")

    def set_rate_hz(self, rate_hz: float) -> None:
        self._note(f"set_rate_hz {rate_hz:g}")

    def after_fork(self) -> None:
        self._note("after_fork")

    def health(self) -> Mapping[str, int]:
        self._note("health")
        return {}


class Forked(NamedTuple):
    """A profiler as it is in a child after the fork, and what starts the thread that `threading` was asked for."""

    profiler: otelprof.Profiler
    collector: Noted
    begin: Callable[[], threading.Thread]


RENEWED = ["after_fork", "set_rate_hz 100"]
GONE_ON = [*RENEWED, "start"]


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Forked]:
    """Nothing of a child's has run yet but the hook."""
    asked: list[Callable[[], object]] = []

    def ask(body: Callable[..., object], arguments: tuple[object, ...]) -> None:
        asked.append(lambda: body(*arguments))

    def begin() -> threading.Thread:
        thread = threading.Thread(target=asked.pop(), daemon=True)
        thread.start()
        return thread

    collector = Noted()
    profiler = otelprof.Profiler(exporters=(), rate_hz=100)
    profiler._collectors[:] = [collector]
    profiler.start()
    assert profiler._pipeline.shutdown(TIMEOUT_S)  # no thread of the parent's is in a child
    collector.calls.clear()
    collector.was_ours.clear()
    with monkeypatch.context() as patched:
        patched.setattr(primitives, "start_new_thread", ask)
        profiler.after_fork()
    assert collector.calls == []  # it holds nobody up
    yield Forked(profiler, collector, begin)
    assert profiler.stop()


def test_a_thread_of_ours_goes_on(forked: Forked) -> None:
    forked.begin().join(TIMEOUT_S)
    assert forked.collector.calls == GONE_ON
    assert all(forked.collector.was_ours)
    assert any(thread.name == "otelprof-worker" for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("method", "arguments", "last"),
    [
        ("start", (), ""),
        ("health", (), "health"),
        ("flush", (), ""),
        ("pause", (), "pause"),
        ("resume", (), "resume"),
        ("set_rate_hz", (50,), "set_rate_hz 50"),
    ],
)
def test_so_does_who_asks_for_something_before_that(
    method: str, arguments: tuple[int, ...], last: str, forked: Forked
) -> None:
    getattr(forked.profiler, method)(*arguments)
    expected = [*GONE_ON, last] if last else GONE_ON
    assert forked.collector.calls == expected
    forked.begin().join(TIMEOUT_S)
    assert forked.collector.calls == expected


def test_stopped_before_that_it_does_not_go_on(forked: Forked) -> None:
    assert forked.profiler.stop()
    assert forked.collector.calls == [*RENEWED, "stop"]
    forked.begin().join(TIMEOUT_S)
    assert forked.collector.calls == [*RENEWED, "stop"]
    forked.profiler.start()
    assert forked.collector.calls == [*RENEWED, "stop", "start"]


@pytest.mark.parametrize("is_paused", [True, False])
def test_a_child_of_one_that_only_manages_others_takes_samples_unless_they_were_paused(
    forked: Forked, *, is_paused: bool
) -> None:
    forked.profiler._is_paused = is_paused
    forked.profiler._is_left_to_workers = True
    forked.profiler.health()
    begun = RENEWED if is_paused else [*RENEWED, "resume"]
    assert forked.collector.calls == [*begun, "start", "health"]


def test_one_that_only_manages_others_takes_no_samples_until_it_is_asked_to(forked: Forked) -> None:
    forked.profiler.health()
    forked.collector.calls.clear()
    forked.profiler.leave_to_workers()
    forked.profiler.leave_to_workers()
    assert forked.collector.calls == ["pause"]
    forked.profiler.resume()
    forked.profiler.leave_to_workers()
    assert forked.collector.calls == ["pause", "resume", "pause"]


def test_a_child_of_a_child_begins_anew(forked: Forked) -> None:
    forked.profiler.after_fork()
    forked.profiler.health()
    assert forked.collector.calls == [*GONE_ON, "health"]
    forked.begin().join(TIMEOUT_S)
    assert forked.collector.calls == [*GONE_ON, "health"]


@pytest.mark.parametrize("is_over", [True, False])
def test_a_thread_that_is_refused_is_said_unless_the_program_is_over(
    forked: Forked,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    is_over: bool,
) -> None:
    """From 3.12 on Python starts no more threads at exit, which may come before ours has begun."""

    def refuse(thread: OwnThread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(OwnThread, "start", refuse)
    main = threading.main_thread()
    monkeypatch.setattr(main, "is_alive", lambda: not is_over)
    forked.begin().join(TIMEOUT_S)
    assert forked.collector.calls == [*GONE_ON, "stop"]
    said = [record.getMessage() for record in caplog.records]
    assert [line.partition(": ")[2].partition(":")[0] for line in said] == (
        [] if is_over else ["this process is not profiled"]
    )


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_waits_until_it_has_gone_on(forked: Forked) -> None:
    """Else a child's child would inherit parts that are half its parent's."""
    is_starting, forking = threading.Event(), threading.Event()

    def start() -> None:
        is_starting.set()
        assert forking.wait(TIMEOUT_S)
        forked.collector.calls.append("started")

    forked.collector.start = start  # type: ignore[method-assign] # for this test
    thread = forked.begin()
    assert is_starting.wait(TIMEOUT_S)
    forking.set()
    pid = os.fork()
    if not pid:
        os._exit("started" not in forked.collector.calls)
    assert os.waitpid(pid, 0)[1] == 0
    thread.join(TIMEOUT_S)


@pytest.mark.parametrize(("name", "is_ours"), [("otlp", True), ("theirs", False)])
def test_a_fork_waits_for_the_constructors_of_otelprof_only(
    name: str, is_ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which import what they need. Those of others may take as long as they like."""
    inside: list[bool] = []

    def build(_: Config) -> FakeExporter:
        inside.append(bool(forks._gate._inside))
        return FakeExporter()

    def load(*_: object) -> Callable[[Config], FakeExporter]:
        return build

    monkeypatch.setattr(parts, "load", load)
    parts._build_exporter(name, Config())
    assert inside == [is_ours]
