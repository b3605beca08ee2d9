"""A profile that is pulled is exactly what was collected in its time, and changes nothing for anybody else."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from otelprof.formats import pprof
from otelprof.model import Profile
from otelprof.profiler import EXIT_TIMEOUT_S
from tests.support.pulling import LOOPBACK, Pulled, Told, pulling, taking
from tests.support.waiting import wait_until
from tests.targets.burning import LEARNING_S, burn

Rows = Counter[tuple[object, ...]]
LONG = "300"
OURS = ("otelprof.pull.crew.", "otelprof.pull.exchange.", "otelprof.pull.server.PullServer._")
MARKED_S = 0.5


def burn_marked() -> None:
    burn(MARKED_S)


def burn_before() -> None:
    burn(LEARNING_S)


def rows_of(profiles: Iterable[Profile], kind: str, function: str) -> Rows:
    """The values of each row with `function` on its stack, by all that tells rows apart."""
    rows: Rows = Counter()
    for profile in profiles:
        if profile.kind != kind:
            continue
        tables = profile.tables
        for at, (stack, link, labels) in enumerate(
            zip(profile.stack, profile.link, profile.labels, strict=True)
        ):
            places = tuple(
                (tables.function_name(frame), tables.frames[frame].line)
                for frame in tables.stacks[stack]
            )
            if not any(name.endswith(function) for name, _ in places):
                continue
            key = (places, tables.links[link], tuple(sorted(tables.labels_of(labels).items())))
            for value_type, column in zip(profile.value_types, profile.values, strict=True):
                # A file of both kinds has the counts of one of them (docs/formats.md).
                if kind in {"cpu", value_type.type}:
                    rows[(*key, value_type.type)] += column[at]
    return +rows


def total(rows: Rows, value_type: str) -> int:
    return sum(value for key, value in rows.items() if key[-1] == value_type)


def files_in(directory: Path) -> list[list[Profile]]:
    return [pprof.decode(path.read_bytes()) for path in sorted(directory.glob("*.pb.gz"))]


def get(pulled: Pulled, kind: str, seconds: str = LONG) -> Callable[[], Told]:
    return lambda: pulled.get(f"/debug/pprof/{kind}?seconds={seconds}")


@pytest.mark.parametrize("kind", ["cpu", "wall"])
def test_what_is_pulled_is_what_is_pushed(kind: str, sampler: str, tmp_path: Path) -> None:
    provider = TracerProvider()
    tracer = provider.get_tracer("test")
    name = {"cpu": "profile"}.get(kind, kind)
    settings: dict[str, Any] = {"exporters": ("file",), "file_dir": tmp_path, "flush_s": 3600.0}
    settings |= {"sampler": sampler, "rate_hz": 200, "tracer_provider": provider}
    with pulling(**settings) as (profiler, pulled):
        burn_before()
        with taking(profiler, 1, get(pulled, name)) as (future,):
            with tracer.start_as_current_span("marked") as span:
                burn_marked()
            assert get(pulled, name, "1")().status == 200  # cuts the other one in three
            burn_marked()
            profiler.stop()
            got = future.result().profiles
    pushed = [profile for profiles in files_in(tmp_path) for profile in profiles]
    expected = rows_of(pushed, kind, "burn_marked")
    assert rows_of(got, kind, "burn_marked") == expected
    assert total(expected, kind) > 2 * MARKED_S * 1e9 / 2
    span_id = span.get_span_context().span_id.to_bytes(8, "big")
    assert any(getattr(key[1], "span_id", b"") == span_id for key in expected)
    # Each was taken from the same whole: nothing else is in it than what was there then.
    assert not rows_of(got, kind, "burn_before")
    assert rows_of(pushed, kind, "burn_before")
    (profile,) = got
    assert profile.kind == kind
    assert dict(profile.resource)["process.pid"] == str(os.getpid())


def test_readers_disturb_neither_each_other_nor_what_leaves(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"exporters": ("file",), "file_dir": tmp_path, "flush_s": 3600.0}
    with pulling(rate_hz=200, **settings) as (profiler, pulled):
        readers = [get(pulled, "profile"), get(pulled, "profile"), get(pulled, "wall")]
        with taking(profiler, 3, *readers) as futures:
            for _ in range(20):  # more than are kept apart
                burn(0.03)
                assert get(pulled, "goroutine", "")().status == 400
            quick = [get(pulled, "profile", "1") for _ in range(3)]
            threads = [threading.Thread(target=each) for each in quick]
            for thread in threads:
                thread.start()
            burn_marked()
            for thread in threads:
                thread.join()
            profiler.stop()
            first, second, wall = [future.result().profiles for future in futures]
    assert len(files_in(tmp_path)) == 1  # the last
    pushed = [profile for profiles in files_in(tmp_path) for profile in profiles]
    expected = rows_of(pushed, "cpu", "burn_marked")
    assert total(expected, "samples") > 10
    assert rows_of(first, "cpu", "burn_marked") == expected
    assert rows_of(second, "cpu", "burn_marked") == expected
    assert rows_of(wall, "wall", "burn_marked") == rows_of(pushed, "wall", "burn_marked")


def test_the_window_is_as_long_as_was_asked_for() -> None:
    with pulling(rate_hz=50) as (_, pulled):
        began_ns = time.time_ns()
        (profile,) = pulled.profiles("wall?seconds=2")
        ended_ns = time.time_ns()
    assert 2e9 <= profile.duration_ns <= ended_ns - began_ns
    assert began_ns <= profile.start_unix_ns <= ended_ns - profile.duration_ns


def test_a_process_that_does_nothing_has_a_profile_of_nothing() -> None:
    with pulling() as (profiler, pulled):
        profiler.pause()
        (profile,) = pulled.profiles("profile?seconds=1")
    assert (profile.kind, len(profile)) == ("cpu", 0)
    assert profile.duration_ns >= 1e9
    assert [value_type.type for value_type in profile.value_types] == ["samples", "cpu"]


def test_what_may_not_leave_is_not_pulled() -> None:
    secret = threading.Event()
    thread = threading.Thread(target=secret.wait, name="password=hunter2-hunter2")
    thread.start()
    try:
        with (
            pulling(filter_exclude=("function=*.burn_before",)) as (profiler, pulled),
            taking(profiler, 1, get(pulled, "wall")) as (future,),
        ):
            burn_before()
            burn_marked()
            text = pulled.get("/debug/pprof/goroutine?debug=2").text
            (threads,) = pulled.profiles("goroutine")
            profiler.stop()
            got = future.result().profiles
    finally:
        secret.set()
        thread.join()
    assert rows_of(got, "wall", "burn_marked")
    assert not rows_of(got, "wall", "burn_before")
    everything = "\n".join([text, *threads.tables.strings, *got[0].tables.strings])
    assert "password=[redacted]" in everything
    assert "hunter2" not in everything


def test_threads_now_are_all_threads_but_ours() -> None:
    go_on = threading.Event()
    text_path = "/debug/pprof/goroutine?debug=1"

    def wait_in_here() -> None:
        go_on.wait()

    threads = [threading.Thread(target=wait_in_here, name="waiter") for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        with pulling() as (_, pulled):
            wait_until(
                lambda: "3 @ thread_name='waiter'" in pulled.get(text_path).text,
                poll_s=0.05,
                what="all wait in the same place, and so are one row",
            )
            (profile,) = pulled.profiles("goroutine")
            text = pulled.get(text_path).text
    finally:
        go_on.set()
        for thread in threads:
            thread.join()
    names = Counter(
        {
            profile.tables.labels_of(labels)["thread_name"]: count
            for labels, count in zip(profile.labels, profile.column("threads"), strict=True)
        }
    )
    assert names["waiter"] == 3
    assert names["MainThread"] == 1
    assert not [name for name in names if name.startswith("otelprof-")]
    assert f"wait_in_here\t{__file__}:" in text


def test_our_own_threads_are_in_no_profile(sampler: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"exporters": ("file",), "file_dir": tmp_path}
    settings |= {"sampler": sampler, "rate_hz": 200}
    with (
        pulling(LOOPBACK, **settings) as (profiler, pulled),
        taking(profiler, 1, get(pulled, "wall")) as (future,),
    ):
        for _ in range(100):
            assert pulled.get("/debug/pprof/goroutine").status == 200
        assert get(pulled, "wall", "2")().status == 200
        profiler.stop()
        got = future.result().profiles
    profiles = [*got, *(profile for profiles in files_in(tmp_path) for profile in profiles)]
    names = {
        profile.tables.strings[function.name]
        for profile in profiles
        for function in profile.tables.functions
    }
    assert any(name.endswith("Pulled.get") for name in names), names
    assert not [name for name in names if name.startswith(OURS)]


def test_who_asks_when_the_profiler_stops_gets_what_there_is() -> None:
    with (
        pulling(rate_hz=200) as (profiler, pulled),
        taking(profiler, 1, get(pulled, "profile")) as (future,),
    ):
        burn_marked()
        began = time.monotonic()
        profiler.stop()
        took_s = time.monotonic() - began
        got = future.result().profiles
    assert rows_of(got, "cpu", "burn_marked")
    assert got[0].duration_ns < 100e9
    assert took_s < EXIT_TIMEOUT_S + 5
