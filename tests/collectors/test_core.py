"""The C core's collector, over windows that a test wrote: what becomes of them, and what the core is told."""

import logging
import os
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from otelprof.collectors.core import CoreCollector
from otelprof.collectors.thread_names import ThreadNames
from otelprof.config import Config
from otelprof.labels import spans_by
from otelprof.model import NO_LINK, Link, Producer, Profile
from otelprof.threads import OwnThread, own_native_ids
from otelprof.version import __version__
from tests.support.fake_core import (
    FIRST_LABEL,
    UNKNOWN_LABEL,
    Code,
    FakeCore,
    Group,
    Sampler,
    window_of,
)
from tests.support.pipelines import FakeClock
from tests.support.profiles import Place, rows_of

TIMEOUT_S = 30.0
ROOT: Code = ("/srv/app/main.py", "main", 1)
LEAF: Code = ("/srv/app/orders.py", "Order.place", 10)
AT_ROOT = Place("main", "/srv/app/main.py", 1, 20)
AT_LEAF = Place("Order.place", "/srv/app/orders.py", 10, 14)
DEEP = ((LEAF, 14), (ROOT, 20))
SHALLOW = ((ROOT, 20),)
MAIN = (threading.get_ident(), threading.get_native_id())
TRACE_ID, SPAN_ID, ROOT_ID = bytes(range(16)), bytes(range(1, 9)), bytes(range(2, 10))


def collector_of(
    kinds: tuple[str, ...] = ("cpu", "wall"), clock: FakeClock | None = None
) -> CoreCollector:
    return CoreCollector(
        kinds, Config(rate_hz=100), spans_by(lambda _: 0).labels, clock=clock or FakeClock()
    )


Give = Callable[..., list[Profile]]


@pytest.fixture
def drained(fake_core: FakeCore) -> Give:
    """Makes profiles of groups, in a window of its own."""

    def drain(*groups: Group, **window: object) -> list[Profile]:
        collector = collector_of()
        window.setdefault("threads", (MAIN,))
        fake_core.samplers[-1].windows.append(window_of(*groups, **window))  # type: ignore[arg-type] # as window_of says
        profiles = collector.drain()
        assert [profile.problem() for profile in profiles] == [None] * len(profiles)
        return profiles

    return drain


class TestDrain:
    def test_gives_each_kind_its_weight(self, drained: Give) -> None:
        cpu, wall = drained(
            Group(DEEP, samples=4, wall_ns=40_000_000, cpu_ns=31_000_000),
            Group(SHALLOW, samples=9, wall_ns=90_000_000),
        )
        assert (cpu.kind, wall.kind) == ("cpu", "wall")
        assert [(r.places, r.values) for r in rows_of(cpu)] == [
            ((AT_LEAF, AT_ROOT), (3, 31_000_000))
        ]
        assert [(r.places, r.values) for r in rows_of(wall)] == [
            ((AT_LEAF, AT_ROOT), (4, 40_000_000)),
            ((AT_ROOT,), (9, 90_000_000)),
        ]
        assert all(row.link == NO_LINK for row in rows_of(wall))
        assert all(row.labels == (("thread_name", "MainThread"),) for row in rows_of(wall))
        assert cpu.producer == wall.producer == Producer(__version__, "core", "")
        assert cpu.period == wall.period == 10_000_000

    def test_is_empty_if_nothing_was_sampled(self, drained: Give) -> None:
        assert drained() == []
        (wall,) = drained(Group(SHALLOW, wall_ns=1))
        assert wall.kind == "wall"

    def test_carries_the_cpu_time_that_is_no_whole_period(self, fake_core: FakeCore) -> None:
        collector = collector_of(("cpu",))
        windows = [window_of(Group(DEEP, cpu_ns=7_000_000), threads=[MAIN]) for _ in range(10)]
        fake_core.samplers[0].windows.extend(windows)
        counts = [
            count for _ in range(10) for p in collector.drain() for count in p.column("samples")
        ]
        assert counts == [0, 1, 1, 0, 1, 1, 0, 1, 1, 1]

    def test_adds_up_groups_that_differ_in_flags_only(self, drained: Give) -> None:
        cpu, wall = drained(
            Group(DEEP, samples=1, wall_ns=10, cpu_ns=6_000_000, flags=0),
            Group(DEEP, samples=2, wall_ns=20, cpu_ns=6_000_000, flags=3),
        )
        assert [row.values for row in rows_of(cpu)] == [(1, 12_000_000)]
        assert [row.values for row in rows_of(wall)] == [(3, 30)]

    def test_links_samples_to_their_span_and_its_local_root(self, drained: Give) -> None:
        spans = [(TRACE_ID, SPAN_ID, ROOT_ID, True), (TRACE_ID, ROOT_ID, bytes(8), False)]
        (wall,) = drained(
            Group(DEEP, label=FIRST_LABEL, wall_ns=1),
            Group(DEEP, label=FIRST_LABEL + 1, wall_ns=2),
            labels=spans,
        )
        assert [row.link for row in rows_of(wall)] == [
            Link(TRACE_ID, SPAN_ID, ROOT_ID),
            Link(TRACE_ID, ROOT_ID, b""),
        ]

    def test_says_of_an_unknown_span_that_it_is(self, drained: Give) -> None:
        (wall,) = drained(Group(DEEP, label=UNKNOWN_LABEL, wall_ns=1), losses={"span_unknown": 1})
        (row,) = rows_of(wall)
        assert row.link == NO_LINK
        assert row.labels == (("span", "unknown"), ("thread_name", "MainThread"))
        assert wall.losses == (("span_unknown", 1),)

    def test_knows_no_span_where_there_were_no_labels(
        self, fake_core: FakeCore, foreign_context: None
    ) -> None:
        collector = collector_of(("wall",))
        (sampler,) = fake_core.samplers
        assert sampler.settings["var"] is None
        sampler.windows.append(window_of(Group(DEEP, samples=3, wall_ns=1), threads=[MAIN]))
        (wall,) = collector.drain()
        assert ("span", "unknown") in rows_of(wall)[0].labels
        assert wall.losses == (("span_unknown", 3),)

    def test_shows_what_is_no_function_under_its_name_alone(self, drained: Give) -> None:
        (wall,) = drained(Group(((LEAF, 14), (("", "(truncated)", 0), 0)), wall_ns=1))
        assert rows_of(wall)[0].places[1] == Place("(truncated)", "", 0, 0)

    def test_shows_code_without_a_file_as_code(self, drained: Give) -> None:
        (wall,) = drained(Group(((("", "<module>", 1), 3),), wall_ns=1))
        assert rows_of(wall)[0].places == (Place("<module>", "", 1, 3),)

    def test_prefixes_functions_with_their_module(self, drained: Give) -> None:
        (wall,) = drained(Group((((__file__, "Some.method", 3), 5),), wall_ns=1))
        assert rows_of(wall)[0].places == (Place(f"{__name__}.Some.method", __file__, 3, 5),)

    def test_an_instruction_without_a_line_is_at_its_functions_first(self, drained: Give) -> None:
        (wall,) = drained(Group(((LEAF, 0),), wall_ns=1))
        assert rows_of(wall)[0].places == (Place(*AT_LEAF[:3], 10),)

    def test_gives_each_instruction_its_column(self, drained: Give) -> None:
        here, there = ((LEAF, 14, 9), (ROOT, 20, 5)), ((LEAF, 14, 30), (ROOT, 20, 5))
        (wall,) = drained(Group(here, wall_ns=1), Group(there, wall_ns=2))
        root = AT_ROOT._replace(column=5)
        assert [row.places for row in rows_of(wall)] == [
            (AT_LEAF._replace(column=9), root),
            (AT_LEAF._replace(column=30), root),
        ]

    def test_a_column_without_a_line_is_none(self, drained: Give) -> None:
        (wall,) = drained(Group(((LEAF, 0, 9),), wall_ns=1))
        assert rows_of(wall)[0].places == (Place(*AT_LEAF[:3], 10),)

    def test_a_stack_without_frames_says_so(self, drained: Give) -> None:
        (wall,) = drained(Group((), wall_ns=1))
        assert rows_of(wall)[0].places == (Place("(no Python frames)", "", 0, 0),)

    def test_hands_losses_over_and_leaves_out_those_that_did_not_happen(
        self, drained: Give
    ) -> None:
        (wall,) = drained(Group(DEEP, wall_ns=1), losses={"truncated": 2, "torn": 0, "overflow": 5})
        assert wall.losses == (("overflow", 5), ("truncated", 2))

    def test_dates_the_window_by_its_monotonic_begin(self, fake_core: FakeCore) -> None:
        clock = FakeClock()
        now_ns = clock.monotonic_ns()
        collector = collector_of(clock=clock)
        fake_core.samplers[0].windows.append(
            window_of(
                Group(DEEP, wall_ns=1), threads=[MAIN], start_ns=now_ns - 500, end_ns=now_ns - 100
            )
        )
        (wall,) = collector.drain()
        assert (wall.start_unix_ns, wall.duration_ns) == (clock.unix_ns() - 500, 400)

    def test_of_a_core_without_memory_is_empty_and_said_once(
        self, fake_core: FakeCore, caplog: pytest.LogCaptureFixture
    ) -> None:
        collector = collector_of()
        fake_core.samplers[0].refuses = MemoryError("none left")
        assert [collector.drain(), collector.drain()] == [[], []]
        assert [r.getMessage() for r in caplog.records] == [
            "otelprof: the C core takes no samples: none left"
        ]
        assert collector.health()["sampler_failures"] == 2

    def test_says_that_a_jit_makes_lines_approximate(
        self, drained: Give, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "_jit", SimpleNamespace(is_enabled=lambda: True), raising=False)
        (profile,) = drained(Group(SHALLOW, wall_ns=5))
        assert "JIT" in profile.producer.reason


class TestThreads:
    def test_are_named_as_threading_names_them(self, drained: Give) -> None:
        release, ready = threading.Event(), threading.Event()

        def body() -> None:
            ready.set()
            release.wait(TIMEOUT_S)

        thread = threading.Thread(target=body, name="w")
        thread.start()
        assert ready.wait(TIMEOUT_S)
        ids = (thread.ident or 0, thread.native_id or 0)
        (wall,) = drained(Group(DEEP, wall_ns=1), threads=[ids])
        release.set()
        thread.join(TIMEOUT_S)
        assert rows_of(wall)[0].labels == (("thread_name", "w"),)

    def test_that_nobody_knows_have_their_number(self, drained: Give) -> None:
        (wall,) = drained(
            Group(DEEP, wall_ns=1),
            Group(DEEP, thread=1, wall_ns=1),
            threads=[(1, 4_000_001), (0, 0)],
        )
        names = [dict(row.labels)["thread_name"] for row in rows_of(wall)]
        assert names == ["thread-4000001", "unknown"]

    def test_that_ended_keep_the_name_of_the_last_tick(self, fake_core: FakeCore) -> None:
        collector = collector_of(("wall",))
        thread = threading.Thread(target=collector.tick, name="brief")
        thread.start()
        thread.join(TIMEOUT_S)
        ids = (thread.ident or 0, thread.native_id or 0)
        for _ in range(2):
            fake_core.samplers[0].windows.append(window_of(Group(DEEP, wall_ns=1), threads=[ids]))
        (first,), (second,) = collector.drain(), collector.drain()
        assert rows_of(first)[0].labels == (("thread_name", "brief"),)
        assert rows_of(second)[0].labels == (("thread_name", f"thread-{ids[1]}"),)

    def test_of_our_own_are_left_out(self, fake_core: FakeCore) -> None:
        collector = collector_of(("wall",))
        (sampler,) = fake_core.samplers
        own = OwnThread("test", collector.tick)
        own.start()
        own.join(TIMEOUT_S)
        native_id = own.native_id or 0
        assert native_id in sampler.left_out
        assert native_id not in own_native_ids()
        sampler.windows.append(
            window_of(
                Group(DEEP, wall_ns=1),
                Group(DEEP, thread=1, wall_ns=2),
                threads=[(own.ident or 0, native_id), MAIN],
            )
        )
        (wall,) = collector.drain()
        assert [row.values for row in rows_of(wall)] == [(1, 2)]

    def test_of_our_own_are_known_from_the_start(self, fake_core: FakeCore) -> None:
        """In a forked child the one that starts it is gone before the first tick."""
        collector = collector_of(("wall",))
        (sampler,) = fake_core.samplers
        own = OwnThread("test", collector.start)
        own.start()
        own.join(TIMEOUT_S)
        native_id = own.native_id or 0
        assert native_id in sampler.left_out
        sampler.windows.append(
            window_of(Group(DEEP, wall_ns=1), threads=[(own.ident or 0, native_id)])
        )
        assert collector.drain() == []
        collector.stop()

    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_of_a_forked_child_are_its_own(self) -> None:
        names = ThreadNames()
        names.note()
        pid = os.fork()
        if not pid:
            names.after_fork()
            names.note()
            known = names.of(os.getpid()) == "MainThread"
            os._exit(not (known and names.of(MAIN[1]) == f"thread-{MAIN[1]}"))
        assert os.waitpid(pid, 0)[1] == 0


class TestLife:
    @pytest.fixture
    def core(self, fake_core: FakeCore) -> tuple[CoreCollector, Sampler]:
        collector = collector_of()
        return collector, fake_core.samplers[0]

    def test_begins_and_ends_once(self, core: tuple[CoreCollector, Sampler]) -> None:
        collector, sampler = core
        for step in (
            collector.stop,
            collector.start,
            collector.start,
            collector.stop,
            collector.stop,
        ):
            step()
        assert sampler.calls == ["start", "stop"]
        collector.start()
        collector.stop()
        assert sampler.calls == ["start", "stop"] * 2

    def test_has_labels_made_while_it_runs(
        self, core: tuple[CoreCollector, Sampler], fake_core: FakeCore
    ) -> None:
        collector, _ = core
        collector.start()
        assert fake_core.makes_labels
        collector.stop()
        assert not fake_core.makes_labels

    def test_a_forked_child_that_is_stopped_before_it_started_makes_no_labels(
        self, core: tuple[CoreCollector, Sampler], fake_core: FakeCore
    ) -> None:
        collector, sampler = core
        collector.start()
        collector.after_fork()
        assert fake_core.makes_labels  # of what begins until then, too
        collector.stop()
        assert not fake_core.makes_labels
        assert sampler.calls == ["start", "after_fork"]

    def test_tells_the_core_what_it_needs(self, fake_core: FakeCore) -> None:
        labels = spans_by(lambda _: 0).labels
        CoreCollector(("cpu",), Config(rate_hz=250), labels)
        (sampler,) = fake_core.samplers
        assert sampler.settings["period_ns"] == 4_000_000
        assert sampler.settings["var"] is labels.variable()

    def test_a_thread_that_is_refused_is_said_and_does_not_raise(
        self, core: tuple[CoreCollector, Sampler], caplog: pytest.LogCaptureFixture
    ) -> None:
        collector, sampler = core
        sampler.refuses = OSError(11, "no thread")
        with caplog.at_level(logging.WARNING, "otelprof"):
            collector.start()
        assert [r.getMessage() for r in caplog.records] == [
            "otelprof: the C core takes no samples: [Errno 11] no thread"
        ]
        sampler.refuses = None
        collector.stop()
        assert sampler.calls == ["start"]

    def test_a_pause_outlives_a_fork(self, core: tuple[CoreCollector, Sampler]) -> None:
        collector, sampler = core
        collector.start()
        collector.pause()
        collector.after_fork()
        collector.start()
        collector.stop()
        assert sampler.calls == ["start", "pause", "after_fork", "pause", "start", "stop"]

    def test_a_fork_that_the_core_does_not_survive_is_said(
        self, core: tuple[CoreCollector, Sampler], caplog: pytest.LogCaptureFixture
    ) -> None:
        collector, sampler = core
        sampler.refuses = OSError(24, "no file")
        collector.after_fork()
        assert "no file" in caplog.text

    def test_takes_another_sampler_where_the_runtime_context_has_changed(
        self, core: tuple[CoreCollector, Sampler], fake_core: FakeCore, foreign_context: None
    ) -> None:
        collector, _ = core
        collector.start()
        _, other = fake_core.samplers
        assert other.settings["var"] is None
        assert other.calls == ["start"]

    def test_believes_no_label_once_another_tool_has_taken_their_place(
        self,
        core: tuple[CoreCollector, Sampler],
        request: pytest.FixtureRequest,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        collector, sampler = core
        collector.start()
        collector.tick()
        assert caplog.records == []
        request.getfixturevalue("foreign_context")
        span = (TRACE_ID, SPAN_ID, ROOT_ID, True)
        for _ in range(2):
            group = Group(DEEP, label=FIRST_LABEL, samples=2, wall_ns=1)
            sampler.windows.append(window_of(group, labels=[span], threads=[MAIN]))
            (wall,) = collector.drain()
            assert rows_of(wall)[0].link == NO_LINK
            assert ("span", "unknown") in rows_of(wall)[0].labels
            assert wall.losses == (("span_unknown", 2),)
        assert [r.getMessage() for r in caplog.records] == [
            "spans are not seen any more: another tool has replaced the runtime context"
        ]

    def test_counters_and_facts_are_the_cores(self, core: tuple[CoreCollector, Sampler]) -> None:
        collector, sampler = core
        for lost in (2, 3):
            sampler.windows.append(window_of(Group(DEEP, wall_ns=1), losses={"overflow": lost}))
            collector.drain()
        assert collector.health() == {
            "samples": 7,
            "passes": 3,
            "asked_period_ns": 10_000_000,
            "overflow": 5,
            "sampler_resident_bytes": 4096,
            "sampler_failures": 0,
        }
        assert collector.facts() == {"backend": "memfd"}
