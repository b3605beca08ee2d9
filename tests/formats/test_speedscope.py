import json
from typing import Any

import pytest

from otelprof.errors import FormatError
from otelprof.formats import speedscope
from otelprof.model import Profile, ValueType
from tests.support.golden import Golden
from tests.support.odd_profiles import HUGE, odd, shuffled
from tests.support.profiles import LEAF, MIDDLE, ROOT, SPAN, cpu_and_wall, profile_of, row

CPU, WALL = cpu_and_wall()


def read(blob: bytes) -> dict[str, Any]:
    file: dict[str, Any] = json.loads(blob)
    return file


def stacks(file: dict[str, Any], number: int = 0) -> dict[tuple[str, ...], int]:
    """The frames of each sample by name, root first, and its weight."""
    names = [frame["name"] for frame in file["shared"]["frames"]]
    profile = file["profiles"][number]
    return {
        tuple(names[frame] for frame in stack): weight
        for stack, weight in zip(profile["samples"], profile["weights"], strict=True)
    }


class TestBytes:
    def test_of_cpu_and_wall(self, golden: Golden) -> None:
        golden.check("cpu_and_wall.speedscope.json", speedscope.encode([WALL, CPU]))

    def test_with_lines(self, golden: Golden) -> None:
        golden.check("wall_lines.speedscope.json", speedscope.encode([WALL], lines=True))

    def test_of_odd_names(self, golden: Golden) -> None:
        golden.check("odd.speedscope.json", speedscope.encode([odd()]))

    @pytest.mark.parametrize("profile", [CPU, odd()], ids=["cpu", "odd"])
    @pytest.mark.parametrize("lines", [False, True], ids=["functions", "lines"])
    def test_do_not_depend_on_the_order_of_rows(self, profile: Profile, *, lines: bool) -> None:
        one, other = (speedscope.encode([p], lines=lines) for p in (profile, shuffled(profile)))
        assert one == other

    def test_no_profile_is_an_error(self) -> None:
        with pytest.raises(FormatError, match="speedscope: there is no profile"):
            speedscope.encode([])


class TestProfiles:
    def test_are_one_for_each_value_the_weights_first(self) -> None:
        file = read(speedscope.encode([WALL, CPU]))
        shown = [(p["name"], p["unit"], p["endValue"]) for p in file["profiles"]]
        assert shown == [
            ("cpu", "nanoseconds", sum(CPU.column("cpu"))),
            ("cpu/samples", "none", sum(CPU.column("samples"))),
            ("wall", "nanoseconds", sum(WALL.column("wall"))),
            ("wall/samples", "none", sum(WALL.column("samples"))),
        ]
        assert (file["activeProfileIndex"], file["name"]) == (0, "shop")

    def test_of_bytes_have_their_unit(self) -> None:
        types = (ValueType("inuse_objects", "count"), ValueType("inuse_space", "bytes"))
        heap = profile_of(row(LEAF, values=(2, 64)), kind="heap", value_types=types)
        profiles = read(speedscope.encode([heap]))["profiles"]
        assert [p["unit"] for p in profiles] == ["bytes", "none"]

    def test_end_where_their_weights_end(self) -> None:
        for profile in read(speedscope.encode([CPU, odd()]))["profiles"]:
            assert profile["startValue"] == 0
            assert profile["endValue"] == sum(profile["weights"])

    def test_without_samples_are_there(self) -> None:
        file = read(speedscope.encode([profile_of()]))
        assert [p["samples"] for p in file["profiles"]] == [[], []]
        assert file["shared"]["frames"] == []


class TestFrames:
    def test_are_functions_and_where_they_begin(self) -> None:
        other_line = LEAF._replace(line=9)
        profile = profile_of(
            row(LEAF, values=(1, 10), link=SPAN), row(other_line, values=(1, 5), thread_name="x")
        )
        file = read(speedscope.encode([profile]))
        assert file["shared"]["frames"] == [
            {"name": LEAF.function, "file": LEAF.filename, "line": 5}
        ]
        assert stacks(file) == {(LEAF.function,): 15}

    def test_are_places_where_lines_are_asked_for(self) -> None:
        file = read(speedscope.encode([profile_of(row(LEAF, ROOT, values=(1, 10)))], lines=True))
        assert file["shared"]["frames"] == [
            {"name": LEAF.function, "file": LEAF.filename, "line": 7, "col": 12},
            {"name": ROOT.function, "file": ROOT.filename, "line": 20},
        ]

    def test_without_a_file_have_a_name_only(self) -> None:
        frames = read(speedscope.encode([odd()]))["shared"]["frames"]
        assert {"name": "(frames elided)"} in frames

    def test_without_a_name_show_their_file(self) -> None:
        names = [frame["name"] for frame in read(speedscope.encode([odd()]))["shared"]["frames"]]
        assert "" not in names
        assert "/srv/ap;p\n/\\udcff.py" in names

    def test_are_shared_by_all_profiles(self) -> None:
        frames = read(speedscope.encode([CPU, WALL]))["shared"]["frames"]
        assert [f["name"] for f in frames] == sorted(p.function for p in (LEAF, ROOT, MIDDLE))


class TestStacks:
    def test_are_root_first(self) -> None:
        found = stacks(read(speedscope.encode([CPU])))
        assert found[ROOT.function, MIDDLE.function, LEAF.function] == 31_000_000

    def test_that_weigh_nothing_are_left_out(self) -> None:
        profile = profile_of(row(LEAF, values=(1, 0)), row(ROOT, values=(0, 1)))
        file = read(speedscope.encode([profile]))
        assert (stacks(file, 0), stacks(file, 1)) == ({(ROOT.function,): 1}, {(LEAF.function,): 1})

    def test_keep_huge_values(self) -> None:
        assert stacks(read(speedscope.encode([odd()])))[ROOT.function, MIDDLE.function] == HUGE
