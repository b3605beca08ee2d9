"""`otelprof export`, as the installed program, on profiles made by hand."""

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from otelprof import report
from otelprof.formats import collapsed, gecko, json_profile, otlp, pprof, spans_jsonl, speedscope
from otelprof.model import SpanRecord
from tests.support.profiles import (
    LEAF,
    OTHER_SPAN,
    ROOT_SPAN_ID,
    SPAN,
    TRACE_ID,
    cpu_and_wall,
    profile_of,
)
from tests.support.programs import (
    OTELPROF,
    TIMEOUT_S,
    Finished,
    environment,
    names_in,
    run,
    run_together,
)

SPANS = [
    SpanRecord(TRACE_ID, SPAN.span_id, b"", ROOT_SPAN_ID, "GET /", 2, "/", 0, 0, 9, "MainThread"),
    SpanRecord(TRACE_ID, OTHER_SPAN.span_id, b"", ROOT_SPAN_ID, "query", 3, "", 0, 0, 9, "worker"),
]
PPROF = pprof.encode(cpu_and_wall())
# What a pprof file holds of it: a kind's count may be missing, and ids of profiles.
PROFILES = pprof.decode(PPROF)
CONTENTS = {
    "pprof": pprof.encode(PROFILES),
    "otlp": otlp.encode(PROFILES, full=True),
    "collapsed": collapsed.encode(PROFILES),
    "speedscope": speedscope.encode(PROFILES),
    "gecko": gecko.encode(PROFILES, SPANS),
    "json": json_profile.encode(PROFILES),
    "html": report.encode(PROFILES, SPANS),
}
NAMES = {
    "pprof": "out.pb.gz",
    "otlp": "out.otlp",
    "collapsed": "out.folded",
    "speedscope": "out.speedscope.json",
    "gecko": "out.gecko.json",
    "json": "out.json",
    "html": "out.html",
}

BESIDE = {"pprof": ["out.spans.jsonl"], "otlp": ["out.otlp.spans.jsonl"]}


def export(cwd: Path, *arguments: str | Path) -> Finished:
    finished = run([OTELPROF, "export", *arguments], cwd)
    assert "Traceback" not in finished.err, finished.err
    return finished


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A profile `x.pb.gz` with its spans."""
    (tmp_path / "x.pb.gz").write_bytes(PPROF)
    (tmp_path / "x.spans.jsonl").write_bytes(spans_jsonl.encode(SPANS))
    return tmp_path


class TestFormats:
    def test_are_written_to_the_file_whose_name_says_which(self, directory: Path) -> None:
        commands = {
            name: [OTELPROF, "export", "../x.pb.gz", "-o", path] for name, path in NAMES.items()
        }
        for name, finished in run_together(commands, directory).items():
            assert (finished.code, finished.out) == (0, ""), finished.err
            beside = BESIDE.get(name, [])
            assert names_in(directory / name) == [NAMES[name], *beside]
            for spans in beside:
                assert (directory / name / spans).read_bytes() == spans_jsonl.encode(SPANS)
            assert (directory / name / NAMES[name]).read_bytes() == CONTENTS[name]
            assert finished.said[0].startswith(
                f"otelprof: {NAMES[name]}: 15.0 s, 0.07 s CPU, 2 spans"
            )

    def test_are_written_where_the_name_says_nothing(self, directory: Path) -> None:
        finished = export(directory, "x.pb.gz", "--format", "speedscope", "-o", "out.txt")
        assert finished.code == 0
        assert (directory / "out.txt").read_bytes() == CONTENTS["speedscope"]

    def test_are_printed_without_a_file(self, directory: Path) -> None:
        text = ("collapsed", "speedscope", "gecko", "json")
        commands = {name: [OTELPROF, "export", "../x.pb.gz", "-f", name] for name in text}
        for name, finished in run_together(commands, directory).items():
            assert finished.code == 0
            assert finished.out.encode() == CONTENTS[name]

    def test_that_lack_something_say_so(self, directory: Path) -> None:
        (said,) = export(directory, "x.pb.gz", "-f", "collapsed").said
        assert said.endswith(
            "; values are cpu in nanoseconds; collapsed has no place for spans, threads and other values"
        )

    def test_of_several_files_add_up(self, directory: Path) -> None:
        (directory / "y.pb.gz").write_bytes(PPROF)
        found = [
            export(directory, *files, "-f", "collapsed").out
            for files in (["x.pb.gz", "y.pb.gz"], ["."])
        ]
        assert found == [collapsed.encode([*PROFILES, *PROFILES]).decode()] * 2

    def test_of_no_samples_are_written(self, directory: Path) -> None:
        (directory / "empty.pb.gz").write_bytes(pprof.encode([profile_of()]))
        commands = {
            name: [OTELPROF, "export", "../empty.pb.gz", "-o", path] for name, path in NAMES.items()
        }
        for name, finished in run_together(commands, directory).items():
            assert finished.code == 0, finished.err
            assert (directory / name / NAMES[name]).exists()


class TestOptions:
    def test_value_chooses_what_is_collapsed(self, directory: Path) -> None:
        finished = export(directory, "x.pb.gz", "-f", "collapsed", "--value", "wall")
        assert finished.out.encode() == collapsed.encode(PROFILES, value="wall")

    def test_lines_tell_places_apart(self, directory: Path) -> None:
        finished = export(directory, "x.pb.gz", "-f", "collapsed", "--lines")
        assert f"{LEAF.function} ({LEAF.filename}:{LEAF.line}) " in finished.out
        scope = export(directory, "x.pb.gz", "-f", "speedscope", "--lines")
        assert scope.out.encode() == speedscope.encode(PROFILES, lines=True)

    def test_spans_beside_the_profile_name_the_markers(self, directory: Path) -> None:
        strings = json.loads(export(directory, "x.pb.gz", "-f", "gecko").out)["shared"][
            "stringArray"
        ]
        assert {"GET /", "query"} <= set(strings)


class TestOutput:
    def test_replaces_an_older_file_whole(self, directory: Path) -> None:
        (directory / "out.json").write_text("older")
        assert export(directory, "x.pb.gz", "-o", "out.json").code == 0
        assert (directory / "out.json").read_bytes() == CONTENTS["json"]
        assert names_in(directory) == ["out.json", "x.pb.gz", "x.spans.jsonl"]

    def test_goes_through_a_link(self, directory: Path) -> None:
        (directory / "link.json").symlink_to("out.json")
        assert export(directory, "x.pb.gz", "-o", "link.json").code == 0
        assert (directory / "link.json").is_symlink()
        assert (directory / "out.json").read_bytes() == CONTENTS["json"]

    def test_goes_into_a_pipe(self, directory: Path) -> None:
        os.mkfifo(directory / "pipe")
        reader = subprocess.Popen(["cat", "pipe"], cwd=directory, stdout=subprocess.PIPE)
        try:
            assert export(directory, "x.pb.gz", "-f", "json", "-o", "pipe").code == 0
            assert reader.communicate(timeout=TIMEOUT_S)[0] == CONTENTS["json"]
        finally:
            reader.kill()
            reader.wait()

    def test_that_nobody_reads_is_no_noise(self, directory: Path) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        process = subprocess.Popen(
            [OTELPROF, "export", "x.pb.gz", "-f", "json"],
            cwd=directory,
            env=environment(),
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(writing)
        _, errors = process.communicate(timeout=TIMEOUT_S)
        assert (process.returncode, errors) == (1, "")

    def test_that_is_binary_is_not_printed_on_a_terminal(self, directory: Path) -> None:
        ours, theirs = pty.openpty()
        finished = subprocess.run(
            [OTELPROF, "export", "x.pb.gz", "-f", "otlp"],
            cwd=directory,
            env=environment(),
            stdout=theirs,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT_S,
            check=False,
        )
        os.close(theirs)
        os.close(ours)
        assert finished.returncode == 2
        assert b"otlp is binary: name a file with -o, or redirect it" in finished.stderr


class TestErrors:
    def test_wrong_usage_is_2_and_named(self, directory: Path) -> None:
        wrong = {
            "no file": (["-f", "json"], "Missing argument"),
            "missing": (["missing.pb.gz", "-f", "json"], "missing.pb.gz"),
            "no format": (["../x.pb.gz"], "pprof, otlp, collapsed, speedscope, gecko, json"),
            "format": (["../x.pb.gz", "-f", "xml"], "'pprof', 'otlp', 'collapsed'"),
            "suffix": (["../x.pb.gz", "-o", "out.txt"], "out.txt ends in none of .folded,"),
            "value": (["../x.pb.gz", "-f", "json", "--value", "cpu"], "--value is not for json"),
            "lines": (["../x.pb.gz", "-f", "gecko", "--lines"], "--lines is not for gecko"),
        }
        commands = {name: [OTELPROF, "export", *given] for name, (given, _) in wrong.items()}
        for name, finished in run_together(commands, directory).items():
            assert (finished.code, finished.out) == (2, ""), name
            assert "Usage: otelprof export" in finished.err
            assert wrong[name][1] in finished.err
            assert names_in(directory / name) == []

    def test_a_value_that_is_not_there_is_1_and_those_that_are_are_listed(
        self, directory: Path
    ) -> None:
        finished = export(directory, "x.pb.gz", "-o", "out.folded", "--value", "memory")
        assert (finished.code, finished.out) == (1, "")
        assert finished.said == [
            "otelprof: collapsed: no value is named 'memory', only cpu, cpu/samples, wall"
        ]
        assert not (directory / "out.folded").exists()

    def test_files_that_cannot_be_read_or_written_are_1_and_named(self, directory: Path) -> None:
        (directory / "broken.pb.gz").write_bytes(b"\x1f\x8b broken")
        wrong = {
            "broken": ["../broken.pb.gz", "-f", "json"],
            "nowhere": ["../x.pb.gz", "-o", "nowhere/out.json"],
        }
        commands = {name: [OTELPROF, "export", *given] for name, given in wrong.items()}
        for name, finished in run_together(commands, directory).items():
            assert (finished.code, finished.out) == (1, "")
            assert len(finished.said) == 1
            assert name in finished.said[0]
