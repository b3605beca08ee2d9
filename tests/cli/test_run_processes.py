"""`otelprof run` follows what the program starts, and runs anything that ends up in Python."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from otelprof.cli import child
from otelprof.formats import otlp
from otelprof.model import Profile
from otelprof.storage.runs import all_runs
from otelprof.storage.vitals import are_processes_left
from tests.support.programs import (
    OTELPROF,
    Finished,
    Left,
    environment,
    names_in,
    read,
    run,
    run_together,
    target,
)
from tests.support.waiting import wait_until

FAMILY = target("family.py")


def cpu_by_pid(profiles: list[Profile]) -> dict[int, int]:
    """CPU time in `burn`, by the process that samples say."""
    found: dict[int, int] = {}
    for profile in profiles:
        if profile.kind != "cpu":
            continue
        tables = profile.tables
        for row, weight_ns in enumerate(profile.column("cpu")):
            names = {tables.function_name(frame) for frame in tables.stacks[profile.stack[row]]}
            if any(name.endswith(".burn") for name in names):
                labels = tables.labels_of(profile.labels[row])
                pid = labels.get("process.pid") or dict(profile.resource)["process.pid"]
                found[int(str(pid))] = found.get(int(str(pid)), 0) + weight_ns
    return found


def ran(cwd: Path, *arguments: str | Path, **variables: str) -> Finished:
    finished = run([OTELPROF, "run", *arguments], cwd, variables)
    assert finished.code == 0, finished.err
    assert "Traceback" not in finished.err
    return finished


class TestChildren:
    @pytest.mark.parametrize("how", ["subprocess", "os.fork", "fork", "spawn", "forkserver"])
    def test_are_in_the_one_file_with_their_pids(self, tmp_path: Path, how: str) -> None:
        finished = ran(tmp_path, "-o", "x.pb.gz", FAMILY, how)
        assert names_in(tmp_path) == ["x.pb.gz", "x.spans.jsonl"]
        left = read(tmp_path / "x.pb.gz")
        family = {finished.facts["pid"], *finished.facts["children"]}
        burnt = cpu_by_pid(left.profiles)
        assert set(burnt) == family
        assert all(burnt.values())
        spans = sorted(span.name for span in left.spans)
        assert spans == [*["child"] * (len(family) - 1), "parent"]
        # Each line of spans says of which process it is.
        assert family == {
            int(attribute["value"]["intValue"])
            for line in (tmp_path / "x.spans.jsonl").read_text().splitlines()
            for attribute in json.loads(line)["resourceSpans"][0]["resource"]["attributes"]
            if attribute["key"] == "process.pid"
        }

    def test_are_profiles_of_their_own_in_otlp(self, tmp_path: Path) -> None:
        finished = ran(tmp_path, "-o", "x.otlp", FAMILY, "fork")
        profiles = otlp.decode((tmp_path / "x.otlp").read_bytes())
        family = {finished.facts["pid"], *finished.facts["children"]}
        assert {dict(profile.resource)["process.pid"] for profile in profiles} == family
        assert set(cpu_by_pid(profiles)) == family

    def test_are_counted(self, tmp_path: Path) -> None:
        said = ran(tmp_path, "-o", "x.pb.gz", FAMILY, "fork").said
        assert any("2 processes" in line for line in said)


class TestOthersThatGoOn:
    """A daemon that the program has started, and that is there when it has ended.

    It looks for its end seldom: each look lets go of the GIL for an instant, and other threads that wait for it begin
    their 5 ms anew, so that a look each millisecond starves them for many seconds.
    """

    SCRIPT = """
import os, sys, time
if os.fork():
    sys.exit()
os.setsid()
while not os.path.exists("end") and time.process_time() < 60:
    sum(i * i for i in range(1_000_000))
"""

    def test_keep_their_directory(self, tmp_path: Path) -> None:
        (tmp_path / "script.py").write_text(self.SCRIPT)
        variables = {"OTELPROF_FLUSH": "200ms", "OTELPROF_STATE_DIR": str(tmp_path / "state")}
        log = tmp_path / "log"
        with log.open("w") as file:
            command = [OTELPROF, "run", "-o", "x.otlp", "script.py"]
            settings = environment(**variables)
            code = subprocess.call(command, cwd=tmp_path, env=settings, stdout=file, stderr=file)
        try:
            assert code == 0
            assert "what it has started goes on" in log.read_text()
            (kept,) = all_runs(tmp_path / "state")
            before = set(kept.glob("*.otlp"))
            wait_until(lambda: set(kept.glob("*.otlp")) - before)
        finally:
            (tmp_path / "end").touch()
        wait_until(lambda: not are_processes_left(kept))
        assert "lost" not in log.read_text()


class TestPrograms:
    def test_may_be_modules(self, tmp_path: Path) -> None:
        (tmp_path / "package").mkdir()
        (tmp_path / "package" / "__main__.py").write_text(
            "import json, sys\n"
            "sum(i * i for i in range(3_000_000))\n"
            "print(json.dumps({'arguments': sys.argv[1:]}))\n"
        )
        finished = ran(tmp_path, "-o", "x.pb.gz", "-m", "package", "-r", "--", "-o")
        assert finished.facts["arguments"] == ["-r", "--", "-o"]
        assert (tmp_path / "x.pb.gz").exists()

    def test_may_be_console_scripts_with_children(self, tmp_path: Path) -> None:
        script = tmp_path / "serve"
        script.write_text(f"#!/bin/sh\n{sys.executable} {FAMILY} subprocess\n")
        script.chmod(0o700)
        finished = ran(tmp_path, "-o", "x.pb.gz", "--", script, PATH="/usr/bin:/bin")
        assert len(cpu_by_pid(read(tmp_path / "x.pb.gz").profiles)) == 3
        assert finished.said[0].startswith("otelprof: x.pb.gz: ")

    def test_of_the_environment_need_not_be_on_the_path(self, tmp_path: Path) -> None:
        finished = ran(tmp_path, "--", "otelprof", "--version", PATH="/usr/bin:/bin")
        assert finished.out.startswith("otelprof, version")

    def test_are_looked_for_where_no_file_is(self, tmp_path: Path) -> None:
        finished = run([OTELPROF, "run", "sh"], tmp_path)
        assert finished.code == 2
        assert finished.said[-1] == (
            "otelprof: there is no file 'sh'; for the command write: -- sh"
        )

    def test_that_are_not_python_leave_no_profile(self, tmp_path: Path) -> None:
        finished = ran(tmp_path, "--", "true")
        (line,) = finished.said
        assert line.startswith("otelprof: true left no profile: ")

    def test_with_an_sdk_of_their_own_keep_it(self, tmp_path: Path) -> None:
        finished = ran(tmp_path, "-o", "x.pb.gz", target("own_sdk.py"))
        spans = [
            "by the early tracer",
            "by the provider",
            "by a decorator",
            "by a decorator of a coroutine",
        ]
        assert finished.facts["is_its_own"]
        assert finished.facts["metrics"] == ["hits"]
        assert finished.facts["logs"] == ["a record"]
        assert [line for line in finished.out.splitlines() if "exported" in line] == [
            f"exported {name}" for name in spans
        ]
        left = read(tmp_path / "x.pb.gz")
        assert [span.name for span in left.spans] == spans
        assert set(Left(left.profiles, left.spans).labels()["burn"]) == set(spans)
        assert {dict(p.resource)["service.name"] for p in left.profiles} == {"its own"}


class TestTime:
    def test_that_is_over_ends_the_program_as_ctrl_c_does(self, tmp_path: Path) -> None:
        script = tmp_path / "script.py"
        script.write_text(
            "import signal, sys\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored\n"
            "try:\n"
            "    while True: sum(range(10_000))\n"
            "except KeyboardInterrupt:\n"
            "    print('interrupted')\n"
            "    sys.exit(7) if sys.argv[1:] else signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
            "    raise\n"
        )
        command = [OTELPROF, "run", "-d", "4", "-o", "x.pb.gz", str(script)]
        finished = run_together({"ends": command, "fails": [*command, "fail"]}, tmp_path)
        assert {name: each.code for name, each in finished.items()} == {"ends": 0, "fails": 7}
        for name, each in finished.items():
            assert each.out == "interrupted\n"
            assert f"otelprof: {script}: ended after 4 s" in each.said
            assert any(p.kind == "cpu" for p in read(tmp_path / name / "x.pb.gz").profiles)

    def test_ends_what_the_program_has_started_too(self, tmp_path: Path) -> None:
        script = tmp_path / "script.py"
        script.write_text(
            "import signal, time\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "try:\n    time.sleep(120)\n"
            "except KeyboardInterrupt:\n    open('interrupted', 'w').close()\n"
        )
        # A shell that hands no signal on, and that has something to do afterwards.
        shell = f"trap 'true' INT TERM; {sys.executable} {script}; echo went on >&2"
        finished = ran(tmp_path, "-d", "4", "--", "sh", "-c", shell)
        assert (tmp_path / "interrupted").exists()
        assert "went on" in finished.said

    def test_counts_from_when_it_is_profiled(self, tmp_path: Path) -> None:
        """Python cannot be interrupted while it starts, which takes long on a busy machine."""
        (tmp_path / "first").mkdir()
        (tmp_path / "first" / "sitecustomize.py").write_text("import time\ntime.sleep(3)\n")
        (tmp_path / "script.py").write_text("while True: sum(range(10_000))\n")
        command = [OTELPROF, "run", "-d", "2", "-o", "x.pb.gz", "script.py"]
        finished = run(command, tmp_path, {"PYTHONPATH": str(tmp_path / "first")})
        assert finished.code == 0, finished.err
        assert "Fatal" not in finished.err
        assert any(p.kind == "cpu" for p in read(tmp_path / "x.pb.gz").profiles)

    def test_counts_from_when_all_is_instrumented(self, tmp_path: Path) -> None:
        """What is instrumented after the profiler has begun takes long, too, and Python still starts."""
        (tmp_path / "slow").mkdir()
        (tmp_path / "slow" / "slow.py").write_text("def wait():\n    __import__('time').sleep(2)\n")
        metadata = tmp_path / "slow" / "slow-1.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1\n")
        entry_point = "[opentelemetry_post_instrument]\nslow = slow:wait\n"
        (metadata / "entry_points.txt").write_text(entry_point)
        (tmp_path / "script.py").write_text("while True: sum(range(10_000))\n")
        command = [OTELPROF, "run", "-d", "1", "-o", "x.pb.gz", "script.py"]
        path = f"{tmp_path / 'slow'}{os.pathsep}{environment()['PYTHONPATH']}"
        finished = run(command, tmp_path, {"PYTHONPATH": path})
        assert finished.code == 0, finished.err
        assert "Fatal" not in finished.err

    def test_counts_soon_if_nothing_is_profiled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(child, "_BEGIN_S", 0.1)
        program = child.Child(["sleep", "100"], os.environ)
        assert program.wait(0.1, lambda: False) == -signal.SIGINT
        assert program.was_ended
        assert not program.has_begun

    @pytest.mark.parametrize("option", ["-d", "-r"])
    def test_and_rate_are_numbers(self, tmp_path: Path, option: str) -> None:
        finished = run([OTELPROF, "run", option, "nan", "--", "true"], tmp_path)
        assert finished.code == 2
        assert "'nan' is not a number" in finished.err


class TestCollecting:
    def test_is_of_the_kinds_that_are_asked_for(self, tmp_path: Path) -> None:
        ran(tmp_path, "--collect", "wall", "-o", "x.pb.gz", target("busy.py"))
        assert {profile.kind for profile in read(tmp_path / "x.pb.gz").profiles} == {"wall"}
