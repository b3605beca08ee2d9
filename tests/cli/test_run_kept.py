"""Runs that `otelprof run` keeps on this machine, and what it does where it cannot write."""

import signal
from pathlib import Path

import pytest

from otelprof.storage.runs import all_runs
from tests.support.programs import OTELPROF, Finished, finish, run, started, target, wait_for_line
from tests.support.waiting import wait_until

BUSY = target("busy.py")


def otelprof(cwd: Path, *arguments: str | Path, **variables: str) -> Finished:
    finished = run([OTELPROF, *arguments], cwd, variables)
    assert "Traceback" not in finished.err, finished.err
    return finished


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


class TestRuns:
    def test_are_kept_and_found_by_name(self, tmp_path: Path, state: Path) -> None:
        variables = {"OTELPROF_STATE_DIR": str(state)}
        for _ in range(2):
            assert otelprof(tmp_path, "run", BUSY, **variables).code == 0
        first, second = all_runs(state)
        assert first.name.startswith("busy-")
        assert first.stat().st_mode & 0o777 == 0o700
        latest = otelprof(tmp_path, "show", "--by", "span", "latest", **variables)
        assert "checkout" in latest.out
        for run_directory, name in ((second, second.name), (first, first.name)):
            by_name = otelprof(tmp_path, "show", "--by", "span", name, **variables)
            by_path = otelprof(tmp_path, "show", "--by", "span", run_directory, **variables)
            assert by_name.out == by_path.out
        exported = otelprof(tmp_path, "export", "latest", "-o", "x.pb.gz", **variables)
        assert exported.code == 0
        again = otelprof(tmp_path, "show", "--by", "span", "x.pb.gz", **variables)
        assert again.out == latest.out

    def test_that_are_not_there_are_named_with_those_that_are(
        self, tmp_path: Path, state: Path
    ) -> None:
        variables = {"OTELPROF_STATE_DIR": str(state)}
        none = otelprof(tmp_path, "show", "latest", **variables)
        assert none.code == 2
        assert f"no run in {state / 'runs'}" in none.err
        for _ in range(2):
            assert otelprof(tmp_path, "run", BUSY, **variables).code == 0
        unknown = otelprof(tmp_path, "show", "missing", **variables)
        assert unknown.code == 2
        assert f"the last are {all_runs(state)[1].name}, " in unknown.err
        both = otelprof(tmp_path, "show", "busy", **variables)
        assert both.code == 2
        assert f"'busy' may be {all_runs(state)[1].name}, {all_runs(state)[0].name}" in both.err

    def test_with_an_output_are_not_kept(self, tmp_path: Path, state: Path) -> None:
        assert (
            otelprof(tmp_path, "run", "-o", "x.otlp", BUSY, OTELPROF_STATE_DIR=str(state)).code == 0
        )
        assert all_runs(state) == []

    def test_stay_within_their_bounds(self, tmp_path: Path, state: Path) -> None:
        variables = {"OTELPROF_STATE_DIR": str(state), "OTELPROF_LOCAL_MAX_SIZE": "1KiB"}
        for _ in range(2):
            assert otelprof(tmp_path, "run", BUSY, **variables).code == 0
        (kept,) = all_runs(state)
        assert otelprof(tmp_path, "show", kept.name, **variables).code == 0

    def test_are_whole_where_a_file_or_the_same_again_is_named(
        self, tmp_path: Path, state: Path
    ) -> None:
        variables = {"OTELPROF_STATE_DIR": str(state), "OTELPROF_FLUSH": "100ms"}
        assert otelprof(tmp_path, "run", BUSY, **variables).code == 0
        (kept,) = all_runs(state)
        once = otelprof(tmp_path, "show", "latest", **variables)
        assert otelprof(tmp_path, "show", "latest", kept, **variables).out == once.out
        last = max(kept.glob("*.otlp"))
        assert "removed files" not in otelprof(tmp_path, "show", last, **variables).out

    def test_that_are_removed_meanwhile_leave_the_exit_code_as_it_is(
        self, tmp_path: Path, state: Path
    ) -> None:
        script = tmp_path / "script.py"
        script.write_text(
            f"import shutil, sys\nshutil.rmtree({str(state / 'runs')!r})\nsys.exit(7)\n"
        )
        finished = otelprof(tmp_path, "run", script, OTELPROF_STATE_DIR=str(state))
        assert finished.code == 7
        assert "No such file or directory" in finished.err

    def test_of_programs_that_are_killed_are_readable(self, tmp_path: Path, state: Path) -> None:
        variables = {"OTELPROF_STATE_DIR": str(state), "OTELPROF_FLUSH": "200ms"}
        with started([OTELPROF, "run", BUSY, "wait"], tmp_path, variables) as process:
            wait_for_line(process, "ready")
            (kept,) = all_runs(state)
            wait_until(lambda: list(kept.glob("*.otlp")))
            process.send_signal(signal.SIGTERM)
            finished = finish(process)
        assert finished.code == 128 + signal.SIGTERM
        assert any(line.startswith("  missing   SIGTERM ended it") for line in finished.said)
        assert otelprof(tmp_path, "show", "latest", **variables).code == 0

    def test_beside_an_exporter_that_is_asked_for(self, tmp_path: Path, state: Path) -> None:
        variables = {"OTELPROF_STATE_DIR": str(state), "OTELPROF_EXPORTER": "file"}
        assert otelprof(tmp_path, "run", BUSY, **variables).code == 0
        assert len(all_runs(state)) == 1
        assert list((tmp_path / "otelprof-profiles").glob("*.pb.gz"))


class TestWithoutAPlace:
    def test_an_output_is_written_all_the_same(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("no directory")
        state = str(tmp_path / "file" / "state")
        finished = otelprof(tmp_path, "run", "-o", "x.pb.gz", BUSY, OTELPROF_STATE_DIR=state)
        assert finished.code == 0
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "file",
            "x.pb.gz",
            "x.spans.jsonl",
        ]

    def test_nothing_runs_without_an_output(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("no directory")
        state = tmp_path / "file" / "state"
        finished = otelprof(tmp_path, "run", BUSY, OTELPROF_STATE_DIR=str(state))
        assert (finished.code, finished.out) == (1, "")
        (line,) = finished.said
        assert line.startswith(f"otelprof: a run cannot be kept in {state}: ")
        assert line.endswith("; name a file with -o, or set OTELPROF_STATE_DIR")

    def test_what_was_collected_stays_if_the_output_goes_away(
        self, tmp_path: Path, state: Path
    ) -> None:
        script = tmp_path / "script.py"
        script.write_text("import os\nsum(i * i for i in range(3_000_000))\nos.rmdir('out')\n")
        variables = {"OTELPROF_STATE_DIR": str(state)}
        finished = otelprof(tmp_path, "run", "-o", "out/x.pb.gz", script, **variables)
        assert finished.code == 1
        (kept,) = all_runs(state)
        assert finished.said[-1].endswith(f"; what was collected is in {kept}")
        assert otelprof(tmp_path, "show", "latest", **variables).code == 0
