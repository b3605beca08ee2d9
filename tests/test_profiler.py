"""`otelprof.Profiler` in real programs: what it leaves, and that it lets them go as they would without it."""

import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import opentelemetry.context as otel_context
import pytest

import otelprof
from otelprof.errors import ConfigError
from otelprof.threads import OwnThread
from tests.support.pipelines import FakeCollector
from tests.support.programs import (
    TIMEOUT_S,
    finish,
    names_in,
    read,
    read_all,
    run_target,
    run_together,
    started,
    target,
    wait_for_line,
)
from tests.support.servers import (
    ENDPOINTS,
    blackhole,
    grpc_receiver,
    http_receiver,
    otlp_variables,
    refusing_port,
)
from tests.support.sockets import serving

EXIT_LIMIT_S = 2.0  # docs/design: interpreter exit with a dead or silent backend
SLACK_S = 0.5  # from the end of the process to our seeing it, and the noise of the machine
SAMPLER_THREADS = {"python": ["otelprof-sampler"], "core": []}  # the core's is none of Python's


def running_with(sampler: str, exporter: str) -> list[str]:
    """The names of our threads, sorted."""
    return sorted([*SAMPLER_THREADS[sampler], f"otelprof-{exporter}", "otelprof-worker"])


class TestSettings:
    @pytest.mark.parametrize(
        ("name", "value"), [("rat_hz", 100), ("rate_hz", 0), ("collect", ("nothing",))]
    )
    def test_that_cannot_be_used_are_the_callers_mistake(self, name: str, value: Any) -> None:
        with pytest.raises(ConfigError, match=r"rat_hz|rate_hz|nothing"):
            otelprof.Profiler(None, **{name: value})


class TestRate:
    @pytest.mark.parametrize(
        "rate_hz", [0, 0.5, 1000.5, -10, float("nan"), float("inf"), "fast", None]
    )
    def test_that_cannot_be_used_is_told_as_the_setting_is(self, rate_hz: Any) -> None:
        profiler = otelprof.Profiler(rate_hz=50, exporters=())
        with pytest.raises(ConfigError) as setting:
            otelprof.Profiler(rate_hz=rate_hz)
        with pytest.raises(ConfigError) as change:
            profiler.set_rate_hz(rate_hz)
        assert str(change.value) == str(setting.value)
        assert profiler.config.rate_hz == 50

    def test_may_be_set_again_while_it_is_being_set(self) -> None:
        """As by a signal's handler, which runs in the middle of whatever the main thread does."""
        asked: list[float] = []

        class Interrupted(FakeCollector):
            def set_rate_hz(self, rate_hz: float) -> None:
                asked.append(rate_hz)
                if rate_hz == 100:
                    profiler.set_rate_hz(200)

        profiler = otelprof.Profiler(exporters=())
        profiler._collectors[:] = [Interrupted()]
        thread = threading.Thread(target=profiler.set_rate_hz, args=(100,), daemon=True)
        thread.start()
        thread.join(TIMEOUT_S)
        assert asked == [100, 200]
        assert not thread.is_alive()

    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_of_a_child_that_was_forked_in_the_middle_of_a_change_is_the_new_one(self) -> None:
        asked: list[float] = []

        class Asked(FakeCollector):
            def set_rate_hz(self, rate_hz: float) -> None:
                asked.append(rate_hz)

        profiler = otelprof.Profiler(exporters=())
        profiler._collectors[:] = [Asked()]
        with profiler:
            profiler.config = profiler.config.with_arguments({"rate_hz": 77})
            pid = os.fork()
            if not pid:
                profiler.health()  # waits until it is as it will be
                os._exit(asked != [77])
            assert os.waitpid(pid, 0)[1] == 0
        assert asked == []

    @pytest.mark.usefixtures("sampler")
    def test_is_in_the_profiles_and_in_children(self, tmp_path: Path) -> None:
        finished = run_target("profiled.py", "rates", tmp_path / "out", cwd=tmp_path)
        assert (finished.code, finished.said) == (0, [])
        periods: dict[int, list[int]] = {}
        for left in read_all(tmp_path / "out"):
            (pid,) = left.pids()
            (period,) = {profile.period for profile in left.profiles if profile.kind == "cpu"}
            periods.setdefault(pid, []).append(period)
        assert periods.pop(finished.facts["child"]) == [20_000_000]
        (own,) = periods.values()
        assert own[:2] == [50_000_000, 5_000_000]
        assert set(own[2:]) <= {20_000_000}  # nothing may have been seen after the last flush
        assert finished.facts["rate_hz"] == 50


class TestStarting:
    @pytest.mark.parametrize("refused", ["otelprof-sampler", "otelprof-worker"])
    def test_without_a_thread_is_said_and_does_not_raise(
        self, refused: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        start = OwnThread.start

        def refuse(thread: OwnThread) -> None:
            if thread.name == refused:
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(OwnThread, "start", refuse)
        before = otel_context._RUNTIME_CONTEXT
        with otelprof.Profiler(sampler="python", exporters=()) as profiler:
            pass
        assert [record.getMessage() for record in caplog.records] == [
            "otelprof: this process is not profiled: can't start new thread"
        ]
        assert otel_context._RUNTIME_CONTEXT is before
        assert profiler.stop()

    def test_refused_once_it_may_be_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(thread: OwnThread) -> None:
            raise RuntimeError("can't start new thread")

        profiler = otelprof.Profiler(sampler="python", exporters=())
        with monkeypatch.context() as refusing:
            refusing.setattr(OwnThread, "start", refuse)
            profiler.start()
        profiler.start()
        assert any(thread.name == "otelprof-worker" for thread in threading.enumerate())
        assert profiler.stop()


@pytest.mark.usefixtures("sampler")
class TestRunning:
    def test_a_with_statement_leaves_a_profile_with_spans(
        self, tmp_path: Path, sampler: str
    ) -> None:
        finished = run_target("profiled.py", "context", "out.pb.gz", cwd=tmp_path)
        assert (finished.code, finished.said) == (0, [])
        assert finished.facts["running"] == running_with(sampler, "file")
        assert finished.facts["stopped"] == []
        left = read(tmp_path / "out.pb.gz")
        assert {profile.kind for profile in left.profiles} == {"cpu", "wall"}
        assert [span.name for span in left.spans] == ["checkout"]
        labels = left.labels()["burn_checkout"]
        assert labels["checkout"] > 0.8 * sum(labels.values())
        health = finished.facts["health"]
        assert health["collected_profiles"] == health["file.delivered_profiles"] == 2
        assert health["samples"] > 0
        if sampler == "core":
            assert 0 < health["sampler_resident_bytes"] <= health["sampler_mapped_bytes"]

    def test_starting_twice_is_starting_once(self, tmp_path: Path, sampler: str) -> None:
        facts = run_target("profiled.py", "twice", "out.pb.gz", cwd=tmp_path).facts
        assert facts["once"] == facts["again"] == running_with(sampler, "file")
        assert facts["stopped"] == []
        assert facts["results"] == [True, True]

    @pytest.mark.parametrize("order", ["inner first", "outer first"])
    def test_two_at_once_both_get_labels(self, tmp_path: Path, order: str) -> None:
        finished = run_target("profiled.py", "nested", "a.pb.gz", "b.pb.gz", order, cwd=tmp_path)
        assert (finished.code, finished.said) == (0, [])
        assert finished.facts["stopped"] == []
        first, second = read(tmp_path / "a.pb.gz"), read(tmp_path / "b.pb.gz")
        stopped, left = (second, first) if order == "inner first" else (first, second)
        for profile in (stopped, left):
            assert profile.labels()["burn_checkout"]["checkout"] > 0
            assert set(profile.labels()["burn_checkout"]) == {"checkout"}
        assert "burn_later" not in stopped.labels()
        assert set(left.labels()["burn_later"]) == {"later"}

    def test_a_pause_is_not_in_the_profile(self, tmp_path: Path) -> None:
        assert run_target("profiled.py", "paused", "out.pb.gz", cwd=tmp_path).code == 0
        for kind in ("cpu", "wall"):
            labels = read(tmp_path / "out.pb.gz").labels(kind)
            assert labels["burn_checkout"]["checkout"] > 0
            assert labels["burn_later"]["later"] > 0
            assert "burn_paused" not in labels

    def test_stops_promptly(self, tmp_path: Path) -> None:
        facts = run_target("profiled.py", "stopping", "out.pb.gz", cwd=tmp_path).facts
        assert facts["result"] is True
        assert facts["elapsed_s"] < 1.0

    def test_can_be_started_again(self, tmp_path: Path) -> None:
        finished = run_target("profiled.py", "again", "out.pb.gz", cwd=tmp_path)
        assert finished.facts["results"] == [True, True]
        labels = read(tmp_path / "out.pb.gz").labels()
        assert labels["burn_later"]["later"] > 3 * labels["burn_checkout"]["checkout"]

    def test_a_provider_may_come_later(self, tmp_path: Path) -> None:
        assert run_target("profiled.py", "late", "out.pb.gz", cwd=tmp_path).code == 0
        left = read(tmp_path / "out.pb.gz")
        assert [span.name for span in left.spans] == ["checkout"]
        assert left.labels()["burn_checkout"]["checkout"] > 0

    def test_a_relative_path_means_where_the_program_began(self, tmp_path: Path) -> None:
        assert run_target("profiled.py", "elsewhere", "out.pb.gz", cwd=tmp_path).code == 0
        assert "out.pb.gz" in names_in(tmp_path)

    def test_a_directory_gets_a_file_for_each_flush(self, tmp_path: Path) -> None:
        finished = run_target("profiled.py", "directory", tmp_path / "out", cwd=tmp_path)
        assert (finished.code, finished.said) == (0, [])
        every = read_all(tmp_path / "out")
        assert len(every) == 2
        assert all(name.startswith("target-") for name in names_in(tmp_path / "out"))
        assert [span.name for left in every for span in left.spans] == ["checkout"]

    def test_start_and_stop_need_no_profiler(self, tmp_path: Path) -> None:
        finished = run_target("profiled.py", "module", "out.pb.gz", cwd=tmp_path)
        assert (finished.code, len(finished.said)) == (0, 1)
        assert "rate_hz" in finished.said[0]
        assert finished.facts["same"] is True
        assert finished.facts["results"] == [True, True]
        assert finished.facts["stopped"] == []
        labels = read(tmp_path / "out.pb.gz").labels()
        assert labels["burn_checkout"]["checkout"] > 0
        assert "burn_later" not in labels

    def test_switched_off_it_does_nothing(self, tmp_path: Path) -> None:
        finished = run_target("profiled.py", "disabled", "out.pb.gz", cwd=tmp_path)
        assert finished.facts == {"running": [], "flushed": True}
        assert names_in(tmp_path) == []


@pytest.mark.usefixtures("sampler")
class TestEnding:
    @pytest.mark.parametrize("way", ["unstopped", "unstopped_with_provider"])
    def test_what_was_not_stopped_is_stopped_at_exit(self, tmp_path: Path, way: str) -> None:
        finished = run_target("profiled.py", way, "out.pb.gz", cwd=tmp_path)
        assert (finished.code, finished.said) == (0, [])
        function = "burn_later" if way == "unstopped" else "burn_checkout"
        assert function in read(tmp_path / "out.pb.gz").labels()

    def test_a_program_that_is_over_at_once_says_nothing(self, tmp_path: Path) -> None:
        command = [sys.executable, target("profiled.py"), "brief", "out.pb.gz"]
        finished = run_together(dict.fromkeys(("a", "b", "c", "d"), command), tmp_path)
        assert [(each.code, each.said) for each in finished.values()] == [(0, [])] * 4

    @pytest.mark.parametrize("network", ["refusing", "silent"])
    @pytest.mark.parametrize("protocol", ENDPOINTS)
    def test_with_nobody_listening_it_is_over_in_time(
        self, tmp_path: Path, protocol: str, network: str
    ) -> None:
        with refusing_port() if network == "refusing" else blackhole() as address:
            finished = run_target(
                "exits.py", "7", cwd=tmp_path, variables=otlp_variables(protocol, address)
            )
        elapsed_s = (finished.reaped_ns - finished.facts["done_ns"]) / 1e9
        assert finished.code == 7
        assert elapsed_s <= EXIT_LIMIT_S + SLACK_S
        # One line that says what is wrong with the receiver, and at most one about what it did not get.
        assert 1 <= len(finished.said) <= 2, finished.err
        assert len([line for line in finished.said if "not delivered" in line]) <= 1, finished.err
        if network == "refusing":
            assert len([line for line in finished.said if address in line]) == 1, finished.err

    @pytest.mark.parametrize("protocol", ENDPOINTS)
    def test_what_nobody_took_is_delivered_by_the_next_process(
        self, tmp_path: Path, protocol: str
    ) -> None:
        with refusing_port() as address:
            variables = otlp_variables(protocol, address)
            first = run_target("exits.py", "0", cwd=tmp_path, variables=variables)
        assert [line for line in first.said if "wait on the disk for the next process" in line]
        port = int(address.rpartition(":")[2])
        with (
            grpc_receiver(port=port) if protocol == "grpc" else http_receiver(port=port) as receiver
        ):
            second = run_target("exits.py", "0", "built", cwd=tmp_path, variables=variables)
            arrived = list(receiver.requests)
        assert (second.code, second.said) == (0, [])
        pids = [
            item.value.int_value
            for request in arrived
            for resource in request.message.resource_profiles
            for item in resource.resource.attributes
            if item.key == "process.pid"
        ]
        assert sorted(pids) == sorted([first.facts["pid"], second.facts["pid"]])

    @pytest.mark.parametrize("protocol", ENDPOINTS)
    def test_in_the_middle_of_an_export_it_is_over_in_time(
        self, tmp_path: Path, protocol: str
    ) -> None:
        """An export that may take ten seconds is under way when the program ends."""
        go = tmp_path / "go"

        def keep_waiting(_: socket.socket, is_closing: threading.Event) -> None:
            go.touch()
            is_closing.wait()

        with serving(keep_waiting) as address:
            variables = {**otlp_variables(protocol, address), "OTELPROF_FLUSH": "100ms"}
            finished = run_target("exits.py", "7", go, cwd=tmp_path, variables=variables)
        assert go.exists()
        assert finished.code == 7
        assert (finished.reaped_ns - finished.facts["done_ns"]) / 1e9 <= EXIT_LIMIT_S + SLACK_S
        assert len([line for line in finished.said if "not delivered" in line]) == 1, finished.err

    def test_a_silent_receiver_does_not_cost_the_file_its_profile(self, tmp_path: Path) -> None:
        with blackhole() as address:
            variables = {
                **otlp_variables("http/protobuf", address),
                "OTELPROF_EXPORTER": "otlp,file",
                "OTELPROF_FILE_DIR": str(tmp_path / "out"),
            }
            finished = run_target("exits.py", "0", cwd=tmp_path, variables=variables)
        assert finished.code == 0
        assert len(read_all(tmp_path / "out")) == 1

    @pytest.mark.parametrize("protocol", ENDPOINTS)
    def test_somebody_listening_gets_the_rest(self, tmp_path: Path, protocol: str) -> None:
        with grpc_receiver() if protocol == "grpc" else http_receiver() as receiver:
            variables = otlp_variables(protocol, receiver.address)
            finished = run_target("exits.py", "0", "built", cwd=tmp_path, variables=variables)
            assert len(receiver.requests) == 1
        assert (finished.code, finished.said) == (0, [])

    def test_the_programs_own_end_is_kept(self, tmp_path: Path) -> None:
        codes = {"3": 3, "raise": 1, "leave": 4}
        commands = {ending: [sys.executable, target("exits.py"), ending] for ending in codes}
        variables = {ending: {"OTELPROF_OUTPUT": "out.pb.gz"} for ending in codes}
        finished = run_together(commands, tmp_path, variables)
        assert {ending: each.code for ending, each in finished.items()} == codes
        assert "RuntimeError: the script's own error" in finished["raise"].err
        assert names_in(tmp_path / "leave") == []
        for ending in ("3", "raise"):
            assert names_in(tmp_path / ending) == ["out.pb.gz", "out.spans.jsonl"]

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_a_signal_kills_as_before(self, tmp_path: Path, number: signal.Signals) -> None:
        command = [sys.executable, target("exits.py"), "wait"]
        with started(command, tmp_path, {"OTELPROF_OUTPUT": "out.pb.gz"}) as process:
            wait_for_line(process, "done_ns")
            process.send_signal(number)
            assert finish(process).code == -number
