"""`otelprof run`, as the installed program: the script runs as it would, and leaves a profile."""

import signal
import subprocess
from pathlib import Path

from tests.support.programs import (
    OTELPROF,
    Finished,
    finish,
    names_in,
    read,
    run,
    run_together,
    started,
    target,
    wait_for_line,
)

BUSY = target("busy.py")


def otelprof(cwd: Path, *arguments: str | Path, **variables: str) -> Finished:
    finished = run([OTELPROF, *arguments], cwd, variables)
    assert "Traceback" not in finished.err or "the script's own error" in finished.err, finished.err
    return finished


class TestProfiling:
    def test_leaves_a_profile_and_its_spans(self, tmp_path: Path) -> None:
        finished = otelprof(tmp_path, "run", "-o", "x.pb.gz", BUSY)
        assert finished.code == 0
        assert names_in(tmp_path) == ["x.pb.gz", "x.spans.jsonl"]
        left = read(tmp_path / "x.pb.gz")
        assert left.links() == set(finished.facts["spans"].values())
        labels = left.labels()
        assert set(labels["burn_checkout"]) == {"checkout"}
        assert set(labels["burn_payment"]) == {"payment"}
        assert finished.said[0].startswith("otelprof: x.pb.gz: ")
        assert "2 spans" in finished.said[0]

    def test_passes_arguments_on(self, tmp_path: Path) -> None:
        finished = otelprof(tmp_path, "run", BUSY, "go", "-o", "--rate", "--", "a b", "--help")
        assert finished.code == 0
        assert finished.facts["arguments"] == ["-o", "--rate", "--", "a b", "--help"]

    def test_goes_into_a_new_directory_at_the_rate_that_is_asked_for(self, tmp_path: Path) -> None:
        finished = otelprof(tmp_path, "run", "-r", "20", "-o", "a/b/x.pb.gz", BUSY)
        assert finished.code == 0
        assert finished.said[0] == f"otelprof: made the directory {tmp_path / 'a' / 'b'}"
        assert any("Hz of 20; " in line for line in finished.said)
        left = read(tmp_path / "a" / "b" / "x.pb.gz")
        assert {profile.period for profile in left.profiles} == {50_000_000}

    def test_replaces_an_older_profile(self, tmp_path: Path) -> None:
        (tmp_path / "x.pb.gz").write_bytes(b"old")
        (tmp_path / "x.spans.jsonl").write_bytes(b"old")
        assert otelprof(tmp_path, "run", "-o", "x.pb.gz", BUSY).code == 0
        assert len(read(tmp_path / "x.pb.gz").spans) == 2

    def test_a_script_that_leaves_by_the_back_door_leaves_no_older_profile(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "x.pb.gz").write_bytes(b"old")
        (tmp_path / "x.spans.jsonl").write_bytes(b"old")
        finished = otelprof(tmp_path, "run", "-o", "x.pb.gz", BUSY, "leave")
        assert finished.code == 4
        assert names_in(tmp_path) == []
        assert len(finished.said) == 1
        assert "left no profile" in finished.said[0]


class TestExitCodes:
    def test_the_scripts_is_ours(self, tmp_path: Path) -> None:
        commands = {ending: [OTELPROF, "run", BUSY, ending] for ending in ("exit", "raise")}
        finished = run_together(commands, tmp_path)
        assert {ending: each.code for ending, each in finished.items()} == {"exit": 3, "raise": 1}
        for each in finished.values():
            assert any("see       otelprof show " in line for line in each.said)

    def test_wrong_usage_is_2(self, tmp_path: Path) -> None:
        wrong = {
            "no verb": list[str](),
            "no script": ["run"],
            "a script that is not there": ["run", "missing.py"],
            "a module without a name": ["run", "-m"],
            "a command that is not there": ["run", "--", "no-such-command"],
            "no command": ["run", "--"],
            "a kind that is not there": ["run", "--collect", "cpuu", BUSY],
            "no time": ["run", "-d", "0", BUSY],
            "a format that is not there": ["run", "-o", "x.txt", BUSY],
            "a directory for an output": ["run", "-o", ".", BUSY],
            "no rate": ["run", "-r"],
            "a verb that is not there": ["fly"],
            "an option that is not there": ["--wings"],
        }
        commands = {name: [OTELPROF, *arguments] for name, arguments in wrong.items()}
        for name, finished in run_together(commands, tmp_path).items():
            assert finished.code == 2, name
            assert "Usage: otelprof" in finished.err, name
            assert finished.out == "", name
        assert names_in(tmp_path) == []

    def test_an_output_that_cannot_be_written_is_1_and_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("not a directory")
        finished = otelprof(tmp_path, "run", "-o", "file/x.pb.gz", BUSY)
        assert (finished.code, finished.out) == (1, "")
        assert "file/x.pb.gz" in finished.err

    def test_an_output_where_no_file_can_be_is_noticed_before_the_program_runs(
        self, tmp_path: Path
    ) -> None:
        finished = otelprof(tmp_path, "run", "-o", "/proc/x.pb.gz", BUSY)  # also root cannot
        assert (finished.code, finished.out) == (1, "")
        assert finished.said[0].startswith("otelprof: /proc/x.pb.gz cannot be written: ")

    def test_what_cannot_be_shown_is_not_proposed(self, tmp_path: Path) -> None:
        finished = otelprof(tmp_path, "run", "-o", "x.folded", BUSY)
        assert finished.code == 0
        assert not any("otelprof show" in line for line in finished.said)

    def test_help_is_0(self, tmp_path: Path) -> None:
        commands = {
            "all": [OTELPROF, "--help"],
            "run": [OTELPROF, "run", "-h"],
            "show": [OTELPROF, "show", "--help"],
        }
        for finished in run_together(commands, tmp_path).values():
            assert finished.code == 0
            assert "Usage: otelprof" in finished.out

    def test_switched_off_the_script_runs_all_the_same(self, tmp_path: Path) -> None:
        finished = otelprof(tmp_path, "run", BUSY, "exit", OTELPROF_ENABLED="false")
        assert finished.code == 3
        assert finished.said == [
            f"otelprof: {BUSY} left no profile: otelprof is switched off (OTELPROF_ENABLED, OTEL_SDK_DISABLED)"
        ]


class TestSignals:
    def test_are_passed_on(self, tmp_path: Path) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            with started([OTELPROF, "run", BUSY, "handle"], tmp_path) as process:
                finished = ended_by(number, process)
            assert finished.code == 5
            assert finished.facts == {"signal": number}
            assert any("see       otelprof show " in line for line in finished.said)

    def test_that_end_the_script_give_the_exit_code_of_a_shell(self, tmp_path: Path) -> None:
        with started([OTELPROF, "run", BUSY, "wait"], tmp_path) as process:
            finished = ended_by(signal.SIGTERM, process)
        assert finished.code == 128 + signal.SIGTERM

    def test_are_passed_on_without_a_standard_input(self, tmp_path: Path) -> None:
        shell = 'exec "$0" run "$1" handle <&-'
        with started(["sh", "-c", shell, OTELPROF, BUSY], tmp_path) as process:
            finished = ended_by(signal.SIGINT, process)
        assert finished.code == 5


def ended_by(number: signal.Signals, process: "subprocess.Popen[str]") -> Finished:
    wait_for_line(process, "ready")
    process.send_signal(number)
    finished = finish(process, timeout_s=20.0)
    assert "Traceback" not in finished.err, finished.err
    return finished
