"""`otelprof show`, as the installed program, on profiles made by hand."""

import os
import subprocess
from pathlib import Path

import pytest

from otelprof.formats import pprof, spans_jsonl
from otelprof.model import Link, SpanRecord
from tests.support.profiles import LEAF, MIDDLE, ROOT, SPAN_ID, TRACE_ID, profile_of, row
from tests.support.programs import (
    OTELPROF,
    TIMEOUT_S,
    Finished,
    environment,
    run,
    run_together,
    target,
)

MS = 1_000_000
CHILD_ID = bytes(range(0xE0, 0xE8))
REQUEST, QUERY = Link(TRACE_ID, SPAN_ID), Link(TRACE_ID, CHILD_ID)
SPANS = [
    SpanRecord(TRACE_ID, SPAN_ID, b"", SPAN_ID, "request", 2, "/", 0, 0, 300 * MS, "MainThread"),
    SpanRecord(TRACE_ID, CHILD_ID, SPAN_ID, SPAN_ID, "query", 3, "", 0, 0, 90 * MS, "MainThread"),
]
CPU = profile_of(
    row(LEAF, ROOT, values=(2, 20 * MS), link=QUERY),
    row(LEAF._replace(column=30), ROOT, values=(1, 10 * MS), link=QUERY),  # of the same line
    row(MIDDLE, ROOT, values=(2, 20 * MS), link=REQUEST),
    row(ROOT, values=(1, 10 * MS)),
)
WALL = profile_of(
    row(LEAF, ROOT, values=(8, 80 * MS), link=QUERY),
    row(MIDDLE, ROOT, values=(2, 20 * MS), link=REQUEST),
    row(ROOT, values=(7, 1_234 * MS)),
    kind="wall",
)


def show(cwd: Path, *arguments: str | Path) -> Finished:
    finished = run([OTELPROF, "show", *arguments], cwd)
    assert "Traceback" not in finished.err, finished.err
    return finished


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A profile `x.pb.gz` with its spans."""
    (tmp_path / "x.pb.gz").write_bytes(pprof.encode([CPU, WALL]))
    (tmp_path / "x.spans.jsonl").write_bytes(spans_jsonl.encode(SPANS))
    return tmp_path


class TestTables:
    def test_by_function(self, directory: Path) -> None:
        finished = show(directory, "x.pb.gz", "--by", "function")
        assert (finished.code, finished.err) == (0, "")
        assert finished.out == (
            "15.0 s, 0.06 s CPU, 2 spans\n"
            "\n"
            "self CPU  total CPU   self wall  total wall  function\n"
            " 30.0 ms    30.0 ms     80.0 ms     80.0 ms  app.db.query\n"
            " 20.0 ms    20.0 ms     20.0 ms     20.0 ms  app.orders.Order.place\n"
            " 10.0 ms    60.0 ms  1,234.0 ms  1,334.0 ms  app.main\n"
        )

    def test_by_span(self, directory: Path) -> None:
        finished = show(directory, "--by", "span", "x.pb.gz")
        assert (finished.code, finished.err) == (0, "")
        lines = [" ".join(line.split()) for line in finished.out.splitlines()[2:]]
        assert lines == [
            "count mean total CPU on thread waiting span mostly in",
            "1 300.0 ms 300.0 ms 50.0 ms 100.0 ms 200.0 ms request (waiting, not sampled) 67%",
            "1 90.0 ms 90.0 ms 30.0 ms 80.0 ms 10.0 ms query app.db.query 89%, mostly not on CPU",
            "10.0 ms 1,234.0 ms (no span) app.main 100%, mostly not on CPU",
        ]

    def test_no_more_rows_than_asked_for(self, directory: Path) -> None:
        commands = {
            by: [OTELPROF, "show", "../x.pb.gz", "-n", "2", "--by", by]
            for by in ("function", "span")
        }
        for finished in run_together(commands, directory).values():
            lines = finished.out.splitlines()
            assert len(lines) == 6  # the summary, an empty line, the header, two rows, the rest
            assert lines[-1] == "2 of 3 rows shown; -n 3 for all"

    def test_without_spans_beside_it(self, directory: Path) -> None:
        (directory / "x.spans.jsonl").unlink()
        finished = show(directory, "--by", "span", "x.pb.gz")
        assert finished.code == 0
        assert "0 spans" in finished.out
        assert "(span not ended or not recorded)" in finished.out

    def test_a_directory_stands_for_its_profiles(self, directory: Path) -> None:
        (directory / "y.pb.gz").write_bytes(pprof.encode([CPU, WALL]))
        commands = {
            "directory": [OTELPROF, "show", ".."],
            "files": [OTELPROF, "show", "../x.pb.gz", "../y.pb.gz"],
        }
        finished = run_together(commands, directory)
        assert finished["directory"].out == finished["files"].out
        assert "0.12 s CPU" in finished["files"].out

    def test_a_profile_without_rows(self, directory: Path) -> None:
        (directory / "empty.pb.gz").write_bytes(pprof.encode([profile_of()]))
        commands = {
            by: [OTELPROF, "show", "../empty.pb.gz", "--by", by] for by in ("function", "span")
        }
        for finished in run_together(commands, directory).values():
            assert (finished.code, finished.err) == (0, "")

    def test_what_a_run_left(self, tmp_path: Path) -> None:
        ran = run([OTELPROF, "run", "-o", "x.pb.gz", target("busy.py")], tmp_path)
        assert ran.code == 0
        functions = show(tmp_path, "x.pb.gz", "-n", "200", "--by", "function").out
        for name in ("burn_checkout", "burn_payment", "burn_outside", "<module>"):
            assert f"__main__.{name}" in functions
        assert "tests.targets.burning.burn" in functions
        spans = show(tmp_path, "x.pb.gz", "--by", "span").out
        rows = [line.split() for line in spans.splitlines() if " ms " in line]
        assert [row[0] for row in rows[:2]] == ["1", "1"]
        assert "checkout" in rows[0]
        assert "payment" in rows[1]
        assert "(no span)" in spans


class TestErrors:
    def test_a_file_that_cannot_be_read_is_1_and_named(self, directory: Path) -> None:
        contents = {"empty": b"", "text": b"not a profile", "torn": b"\x1f\x8b broken"}
        for name, content in contents.items():
            (directory / f"{name}.pb.gz").write_bytes(content)
        commands = {name: [OTELPROF, "show", "../x.pb.gz", f"../{name}.pb.gz"] for name in contents}
        for name, finished in run_together(commands, directory).items():
            assert (finished.code, finished.out) == (1, "")
            assert len(finished.said) == 1
            assert f"{name}.pb.gz" in finished.said[0]

    def test_spans_that_cannot_be_read_are_1_and_named(self, directory: Path) -> None:
        (directory / "x.spans.jsonl").write_bytes(b"{broken")
        finished = show(directory, "x.pb.gz")
        assert finished.code == 1
        assert len(finished.said) == 1
        assert "x.spans.jsonl" in finished.said[0]

    def test_a_directory_without_profiles_is_1_and_named(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        finished = show(tmp_path, "empty")
        assert finished.code == 1
        assert "empty" in finished.err

    def test_what_is_damaged_in_a_directory_is_left_out_named_and_counted(
        self, directory: Path
    ) -> None:
        whole = show(directory, directory)
        (directory / "odd.pb.gz").mkdir()
        (directory / "empty.otlp").write_bytes(b"")
        (directory / "cut.pb.gz").write_bytes((directory / "x.pb.gz").read_bytes()[:-20])
        finished = show(directory, directory)
        assert finished.code == 0
        for line, name in zip(finished.said, ("cut.pb.gz", "odd.pb.gz", "empty.otlp"), strict=True):
            assert name in line
            assert line.endswith("; without it")
        first, rest = finished.out.split("\n", 1)
        assert first == f"{whole.out.splitlines()[0]}, 3 unreadable files"
        assert rest == whole.out.split("\n", 1)[1]
        (directory / "x.spans.jsonl").write_text("{torn")
        without_spans = show(directory, "--by", "function", directory)
        assert without_spans.code == 0
        assert "x.spans.jsonl" in without_spans.err
        (directory / "x.pb.gz").unlink()
        alone = show(directory, directory)
        assert alone.code == 1
        assert "cut.pb.gz" in alone.err

    def test_a_file_that_is_named_twice_is_read_once(self, directory: Path) -> None:
        once, twice = show(directory, "x.pb.gz"), show(directory, "x.pb.gz", "./x.pb.gz", directory)
        assert once.out == twice.out

    def test_wrong_usage_is_2(self, directory: Path) -> None:
        wrong = {
            "no file": list[str](),
            "missing": ["missing.pb.gz"],
            "no rows": ["../x.pb.gz", "-n", "0"],
            "by what": ["../x.pb.gz", "--by", "colour"],
        }
        commands = {name: [OTELPROF, "show", *arguments] for name, arguments in wrong.items()}
        for finished in run_together(commands, directory).values():
            assert finished.code == 2
            assert "Usage: otelprof show" in finished.err

    def test_a_reader_that_has_seen_enough_ends_it_quietly(self, directory: Path) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        process = subprocess.Popen(
            [OTELPROF, "show", "x.pb.gz"],
            cwd=directory,
            env=environment(),
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(writing)
        _, errors = process.communicate(timeout=TIMEOUT_S)
        assert errors == ""

    def test_names_that_are_not_ascii_are_shown_on_any_terminal(self, directory: Path) -> None:
        odd = LEAF._replace(function="größe.\u2603.\ud7ff")
        (directory / "odd.pb.gz").write_bytes(pprof.encode([profile_of(row(odd, values=(1, MS)))]))
        command = [OTELPROF, "show", "../odd.pb.gz"]
        encodings = ["ascii", "utf-8"]
        variables = {encoding: {"PYTHONIOENCODING": encoding} for encoding in encodings}
        commands = dict.fromkeys(encodings, command)
        for finished in run_together(commands, directory, variables).values():
            assert (finished.code, finished.err) == (0, "")
