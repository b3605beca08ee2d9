import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from otelprof.errors import FormatError
from otelprof.formats import gecko
from otelprof.model import Profile, SpanRecord, ValueType
from tests.support.gecko_rules import violations
from tests.support.golden import Golden
from tests.support.odd_profiles import HUGE, odd, shuffled
from tests.support.profiles import (
    DURATION_NS,
    LEAF,
    MIDDLE,
    OTHER_SPAN,
    ROOT,
    ROOT_SPAN_ID,
    SPAN,
    START_UNIX_NS,
    TRACE_ID,
    cpu_and_wall,
    profile_of,
    row,
)

CPU, WALL = cpu_and_wall()
RECORDS = [
    SpanRecord(
        TRACE_ID, SPAN.span_id, b"", ROOT_SPAN_ID, "GET /\udcff", 2, "/", 0, 0, 9, "MainThread"
    )
]
HEAP_TYPES = (ValueType("inuse_objects", "count"), ValueType("inuse_space", "bytes"))
HEAP = profile_of(
    row(LEAF, ROOT, values=(2, 64)), row(ROOT, values=(1, 16)), kind="heap", value_types=HEAP_TYPES
)
PROFILES = {
    "cpu and wall": [CPU, WALL],
    "odd": [odd()],
    "no samples": [profile_of()],
    "heap": [HEAP],
}

File = dict[str, Any]

BROKEN: list[tuple[Callable[[File], object], str]] = [
    (lambda f: f["meta"].update(interval=0), "interval 0 is not positive"),
    (lambda f: f["meta"].pop("product"), "meta has product 'missing'"),
    (lambda f: f["meta"]["categories"][0].update(color="pink"), "no category is grey"),
    (lambda f: f["meta"].update(markerSchema=[]), "which has no schema"),
    (lambda f: f["shared"]["stringArray"].pop(), "points outside stringArray"),
    (lambda f: f["shared"]["stringArray"].append("app.main"), "a string twice"),
    (lambda f: f["threads"][0].update(pid=1), "thread 0 has pid 1"),
    (lambda f: f["threads"][1].update(tid=1), "2 threads have the id 1"),
    (lambda f: f["threads"][0].update(isMainThread=False), "has 0 main threads"),
    (lambda f: f["threads"][0]["samples"]["time"].reverse(), "order of their time"),
    (lambda f: f["threads"][0]["samples"]["weight"].pop(), "samples.weight has 2 rows"),
    (lambda f: f["threads"][0]["stackTable"]["frame"].append(0), "stackTable.frame has"),
    (lambda f: f["threads"][0]["stackTable"]["prefix"].reverse(), "before its prefix"),
    (lambda f: f["threads"][0]["frameTable"]["func"].__setitem__(0, 9), "func holds 9"),
    (lambda f: f["threads"][0]["markers"]["endTime"].__setitem__(0, -1), "ends before"),
    (lambda f: f.update(threads=[]), "there is no thread"),
]


def read(blob: bytes) -> File:
    file: File = json.loads(blob)
    return file


def threads(file: File) -> dict[tuple[str, str], File]:
    return {(thread["pid"], thread["name"]): thread for thread in file["threads"]}


def stacks(file: File, thread: File) -> list[tuple[str, ...]]:
    """The stack of each sample by name, root first."""
    strings = file["shared"]["stringArray"]
    table: Any = thread["stackTable"]
    nodes: dict[int | None, tuple[str, ...]] = {None: ()}
    for node, (prefix, frame) in enumerate(zip(table["prefix"], table["frame"], strict=True)):
        function = thread["funcTable"]["name"][thread["frameTable"]["func"][frame]]
        nodes[node] = (*nodes[prefix], str(strings[function]))
    return [nodes[node] for node in thread["samples"]["stack"][:-1]]  # the last one is nowhere


def markers(file: File, thread: File) -> list[tuple[str, float, float, dict[str, str]]]:
    """Name, start, end and payload of each marker."""
    table = thread["markers"]
    names = [file["shared"]["stringArray"][row] for row in table["name"]]
    return list(zip(names, table["startTime"], table["endTime"], table["data"], strict=True))


class TestBytes:
    def test_of_cpu_and_wall(self, golden: Golden) -> None:
        golden.check("cpu_and_wall.gecko.json", gecko.encode([WALL, CPU], RECORDS))

    def test_of_odd_names(self, golden: Golden) -> None:
        golden.check("odd.gecko.json", gecko.encode([odd()]))

    @pytest.mark.parametrize("profile", [CPU, odd()], ids=["cpu", "odd"])
    def test_do_not_depend_on_the_order_of_rows(self, profile: Profile) -> None:
        assert gecko.encode([shuffled(profile)]) == gecko.encode([profile])

    def test_no_profile_is_an_error(self) -> None:
        with pytest.raises(FormatError, match="gecko: there is no profile"):
            gecko.encode([])


class TestRules:
    @pytest.mark.parametrize("profiles", PROFILES.values(), ids=PROFILES)
    def test_are_kept(self, profiles: list[Profile]) -> None:
        assert violations(gecko.encode(profiles, RECORDS)) == []

    @pytest.mark.parametrize(("damage", "complaint"), BROKEN)
    def test_are_seen_to_be_broken(self, damage: Callable[[File], object], complaint: str) -> None:
        file = read(gecko.encode([CPU]))
        damage(file)
        found = violations(json.dumps(file).encode())
        assert any(complaint in problem for problem in found), found


class TestThreads:
    def test_are_one_for_each_kind_and_thread_name(self) -> None:
        file = read(gecko.encode([WALL, CPU]))
        assert list(threads(file)) == [
            ("4711 cpu", "MainThread"),
            ("4711 cpu", "worker"),
            ("4711 wall", "MainThread"),
            ("4711 wall", "(thread unknown)"),
        ]
        assert [t["processName"] for t in file["threads"]] == ["shop cpu"] * 2 + ["shop wall"] * 2
        assert [t["isMainThread"] for t in file["threads"]] == [True, False, True, False]

    def test_weigh_what_was_sampled(self) -> None:
        file = read(gecko.encode([CPU, WALL]))
        weights: Counter[str] = Counter()
        for thread in file["threads"]:
            assert thread["samples"]["weightType"] == "tracing-ms"
            weights[thread["pid"]] += round(sum(thread["samples"]["weight"]) * 1e6)
        assert weights == {
            "4711 cpu": sum(CPU.column("cpu")),
            "4711 wall": sum(WALL.column("wall")),
        }

    def test_of_no_samples_are_empty(self) -> None:
        (thread,) = read(gecko.encode([profile_of()]))["threads"]
        assert thread["samples"]["stack"] == [None]

    def test_of_bytes_fill_the_window(self) -> None:
        file = read(gecko.encode([HEAP]))
        (thread,) = file["threads"]
        samples = thread["samples"]
        assert (samples["weightType"], samples["weight"]) == ("bytes", [16, 64, 0])
        assert samples["time"] == [0, DURATION_NS / 1e6 * 16 / 80, DURATION_NS / 1e6]
        assert stacks(file, thread) == [(ROOT.function,), (ROOT.function, LEAF.function)]

    def test_of_a_kind_that_only_counts_are_samples(self) -> None:
        count = profile_of(
            row(ROOT, values=(3,)), kind="gc", value_types=(ValueType("gc", "count"),)
        )
        (thread,) = read(gecko.encode([replace(count, duration_ns=0)]))["threads"]
        assert (thread["samples"]["weightType"], thread["samples"]["weight"]) == ("samples", [3, 0])

    def test_keep_huge_values_as_well_as_a_double_can(self) -> None:
        weights = [
            w for t in read(gecko.encode([odd()]))["threads"] for w in t["samples"]["weight"]
        ]
        assert max(weights) == HUGE / 1e6


class TestSamples:
    def test_of_a_span_lie_under_its_marker(self) -> None:
        file = read(gecko.encode([CPU], RECORDS))
        thread = threads(file)["4711 cpu", "MainThread"]
        assert stacks(file, thread) == [
            (ROOT.function, MIDDLE.function),
            (ROOT.function, MIDDLE.function, LEAF.function),
        ]
        assert thread["samples"]["time"] == [0.0, 9.0, 40.0]
        assert thread["samples"]["weight"] == [9.0, 31.0, 0]
        payload = {
            "type": "otelprof.span",
            "trace_id": TRACE_ID.hex(),
            "span_id": SPAN.span_id.hex(),
            "local_root_span_id": ROOT_SPAN_ID.hex(),
        }
        assert markers(file, thread) == [(r"GET /\udcff", 0.0, 40.0, payload)]

    def test_without_a_span_have_no_marker_and_come_first(self) -> None:
        profile = profile_of(
            row(LEAF, values=(1, 2_000_000), link=OTHER_SPAN), row(ROOT, values=(1, 1_000_000))
        )
        file = read(gecko.encode([profile]))
        (thread,) = file["threads"]
        assert stacks(file, thread) == [(ROOT.function,), (LEAF.function,)]
        ((name, start, end, payload),) = markers(file, thread)
        assert (name, start, end) == ("(span not recorded)", 1.0, 3.0)
        assert payload["span_id"] == OTHER_SPAN.span_id.hex()

    def test_of_an_unknown_span_say_so(self) -> None:
        file = read(gecko.encode([CPU]))
        shown = markers(file, threads(file)["4711 cpu", "worker"])
        assert (
            "(span unknown)",
            0.0,
            10.0,
            {"type": "otelprof.span", "labels": "span=unknown"},
        ) in shown

    def test_with_other_labels_show_them(self) -> None:
        file = read(gecko.encode([odd()]))
        shown = [m for thread in file["threads"] for m in markers(file, thread)]
        assert 'ke\ty=va"lue\\udcff' in [payload.get("labels") for *_, payload in shown]

    def test_that_weigh_nothing_are_left_out(self) -> None:
        file = read(gecko.encode([profile_of(row(LEAF, values=(1, 0)), row(ROOT, values=(0, 1)))]))
        assert stacks(file, file["threads"][0]) == [(ROOT.function,)]


class TestFrames:
    def test_have_function_file_line_and_column(self) -> None:
        file = read(gecko.encode([profile_of(row(LEAF, values=(1, 1)))]))
        (thread,) = file["threads"]
        frames, functions = thread["frameTable"], thread["funcTable"]
        assert (frames["line"], frames["column"], functions["lineNumber"]) == ([7], [12], [5])
        assert stacks(file, thread) == [(LEAF.function,)]
        sources = file["shared"]["sources"]["filename"]
        assert file["shared"]["stringArray"][sources[functions["source"][0]]] == LEAF.filename

    def test_that_stand_for_no_code_have_neither_file_nor_line(self) -> None:
        profile = profile_of(
            row(
                LEAF._replace(
                    function="(frames elided)", filename="", line=0, column=0, start_line=0
                ),
                values=(1, 1),
            )
        )
        (thread,) = read(gecko.encode([profile]))["threads"]
        assert (thread["frameTable"]["line"], thread["frameTable"]["column"]) == ([None], [None])
        assert (thread["funcTable"]["source"], thread["frameTable"]["category"]) == ([None], [0])

    def test_of_several_lines_share_their_function(self) -> None:
        profile = profile_of(row(LEAF, values=(1, 1)), row(LEAF._replace(line=9), values=(1, 1)))
        (thread,) = read(gecko.encode([profile]))["threads"]
        assert (thread["frameTable"]["func"], thread["funcTable"]["length"]) == ([0, 0], 1)


class TestMeta:
    META = read(gecko.encode([CPU, WALL]))["meta"]

    def test_has_window_period_and_names(self) -> None:
        assert self.META["startTime"] == START_UNIX_NS / 1e6
        assert (self.META["interval"], self.META["product"]) == (10.0, "shop")

    def test_lists_resource_producer_and_losses(self) -> None:
        listed = {
            section["label"]: {entry["label"]: entry["value"] for entry in section["entries"]}
            for section in self.META["extra"]
        }
        assert listed["Resource"]["process.pid"] == "4711"
        assert listed["Producer"] == {"version": "0.1.0", "sampler": "python", "reason": "a test"}
        assert listed["Losses of cpu"] == {"overflow": "2", "truncated": "5"}
