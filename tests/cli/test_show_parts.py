"""`otelprof show`: parts of a profile, the call tree, and its formats."""

import json
from pathlib import Path

import pytest

from otelprof.formats import otlp, pprof, spans_jsonl
from tests.cli.test_show import CPU, SPANS, WALL, show
from tests.support.profiles import LEAF, ROOT, SPAN_ID, TRACE_ID, profile_of, row
from tests.support.programs import OTELPROF, run_together

MS = 1_000_000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A profile `x.pb.gz` with its spans."""
    (tmp_path / "x.pb.gz").write_bytes(pprof.encode([CPU, WALL]))
    (tmp_path / "x.spans.jsonl").write_bytes(spans_jsonl.encode(SPANS))
    return tmp_path


class TestParts:
    def test_of_a_span_a_trace_or_an_endpoint(self, directory: Path) -> None:
        commands = {
            name: [OTELPROF, "show", "../x.pb.gz", "--by", "function", *part]
            for name, part in {
                "span": ["--span", "query"],
                "span id": ["--span", SPANS[1].span_id.hex()],
                "span with its children": ["--span", "request"],
                "trace": ["--trace", TRACE_ID.hex()[:8]],
                "endpoint": ["--endpoint", "/"],
                "endpoint by name": ["--endpoint", "request"],
                "both": ["--endpoint", "/", "--span", "query"],
            }.items()
        }
        query = ["30.0 ms 30.0 ms 80.0 ms 80.0 ms app.db.query"]
        both = [*query, "20.0 ms 20.0 ms 20.0 ms 20.0 ms app.orders.Order.place"]
        rows = {
            name: [" ".join(line.split()) for line in finished.out.splitlines()[3:]]
            for name, finished in run_together(commands, directory).items()
        }
        assert rows.pop("span")[:1] == query
        assert rows.pop("span id")[:1] == query
        assert rows.pop("both")[:1] == query
        for found in rows.values():
            assert found[:2] == both

    def test_of_a_span_that_was_not_recorded_are_found_by_its_id(self, directory: Path) -> None:
        (directory / "x.spans.jsonl").unlink()
        finished = show(directory, "x.pb.gz", "--span", SPAN_ID.hex(), "--by", "tree")
        assert finished.code == 0
        assert "app.orders.Order.place" in finished.out

    def test_that_are_not_there_are_1_and_those_that_are_are_listed(self, directory: Path) -> None:
        wrong = {
            "span": (["--span", "pay"], "no span has that name or id; there are query, request"),
            "endpoint": (["--endpoint", "query"], "there are request"),
            "trace": (["--trace", "ffff"], "--trace ffff: is in none of these files"),
            "no trace": (["--trace", "xyz"], "expected 32 hex digits"),
        }
        commands = {
            name: [OTELPROF, "show", "../x.pb.gz", *given] for name, (given, _) in wrong.items()
        }
        for name, finished in run_together(commands, directory).items():
            assert (finished.code, finished.out) == (1, "")
            assert finished.said[-1].startswith("otelprof: --")
            assert wrong[name][1] in finished.said[-1]

    def test_without_samples_are_4(self, directory: Path) -> None:
        (directory / "x.pb.gz").write_bytes(pprof.encode([profile_of(row(ROOT, values=(1, MS)))]))
        finished = show(directory, "x.pb.gz", "--span", "query")
        assert (finished.code, finished.out) == (4, "")
        assert finished.said == ["otelprof: 1 spans, but no samples in them"]


class TestTree:
    def test_shows_who_called_whom(self, directory: Path) -> None:
        finished = show(directory, "x.pb.gz", "--by", "tree")
        assert finished.out == (
            "15.0 s, 0.06 s CPU, 2 spans\n"
            "\n"
            "share      CPU        wall  calls by CPU, from 1% on\n"
            " 100%  60.0 ms  1,334.0 ms  (everything)\n"
            " 100%  60.0 ms  1,334.0 ms  app.main\n"
            "  50%  30.0 ms     80.0 ms  ├─ app.db.query\n"
            "  33%  20.0 ms     20.0 ms  └─ app.orders.Order.place\n"
        )

    def test_is_by_wall_time_where_there_is_no_cpu_time(self, directory: Path) -> None:
        (directory / "x.pb.gz").write_bytes(pprof.encode([WALL]))
        lines = show(directory, "x.pb.gz", "--by", "tree").out.splitlines()
        assert lines[2].endswith("calls by wall, from 1% on")
        assert lines[5].split() == ["6%", "0.0", "ms", "80.0", "ms", "├─", "app.db.query"]

    def test_of_a_stack_deeper_than_pythons_own_is_shown(self, directory: Path) -> None:
        deep = [LEAF._replace(function=f"f{n}") for n in range(3_000)]
        profile = profile_of(row(*deep, values=(1, MS)))
        (directory / "x.pb.gz").write_bytes(pprof.encode([profile]))
        commands = {
            name: [OTELPROF, "show", "../x.pb.gz", "-n", "2000", "--format", name]
            for name in ("text", "json", "md")
        }
        for finished in run_together(commands, directory).values():
            assert finished.code == 0, finished.err
            assert "f2999" in finished.out


class TestFormats:
    def test_json_has_numbers_in_nanoseconds(self, directory: Path) -> None:
        shown = json.loads(show(directory, "x.pb.gz", "--format", "json").out)
        assert (shown["format"], shown["schema_version"]) == ("otelprof.show", 1)
        assert shown["summary"]["cpu_ns"] == 60 * MS
        assert shown["summary"]["spans"] == 2
        assert shown["functions"][0] == {
            "function": "app.db.query",
            "self_cpu_ns": 30 * MS,
            "total_cpu_ns": 30 * MS,
            "self_wall_ns": 80 * MS,
            "total_wall_ns": 80 * MS,
        }
        assert shown["spans"][0]["name"] == "request"
        assert shown["spans"][0]["waiting_ns"] == 200 * MS
        assert [(call["function"], call["caller"]) for call in shown["tree"]] == [
            ("", -1),
            ("app.main", 0),
            ("app.db.query", 1),
            ("app.orders.Order.place", 1),
        ]
        assert [call["cpu_ns"] for call in shown["tree"]] == [60 * MS, 60 * MS, 30 * MS, 20 * MS]

    def test_md_has_tables_that_names_do_not_break(self, directory: Path) -> None:
        odd = LEAF._replace(function="a|b`c")
        (directory / "odd.pb.gz").write_bytes(pprof.encode([profile_of(row(odd, values=(1, MS)))]))
        lines = show(directory, "odd.pb.gz", "--format", "md").out.splitlines()
        assert "| self CPU | total CPU | self wall | total wall | function |" in lines
        assert r"| 1.0 ms | 1.0 ms | 0.0 ms | 0.0 ms | `` a\|b`c `` |" in lines

    def test_names_do_not_speak_to_the_terminal(self, directory: Path) -> None:
        odd = LEAF._replace(function="\x1b]0;owned\x07name\u202e")
        (directory / "odd.pb.gz").write_bytes(pprof.encode([profile_of(row(odd, values=(1, MS)))]))
        finished = show(directory, "odd.pb.gz")
        assert r"\x1b]0;owned\x07name\u202e" in finished.out


class TestContents:
    def test_not_names_say_what_a_file_is(self, directory: Path) -> None:
        (directory / "request.bin").write_bytes(otlp.encode([CPU, WALL], full=True))
        (directory / "request.bin.spans.jsonl").write_bytes(spans_jsonl.encode(SPANS))
        commands = {
            "pprof": [OTELPROF, "show", "../x.pb.gz"],
            "otlp": [OTELPROF, "show", "../request.bin"],
        }
        finished = run_together(commands, directory)
        assert finished["otlp"].code == 0
        assert finished["otlp"].out == finished["pprof"].out

    def test_a_directory_may_hold_both(self, directory: Path) -> None:
        (directory / "y.otlp").write_bytes(otlp.encode([CPU, WALL], full=True))
        assert "0.12 s CPU" in show(directory, ".").out
