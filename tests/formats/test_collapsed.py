import re

import pytest

from otelprof.errors import FormatError
from otelprof.formats import collapsed
from otelprof.model import Profile, ValueType
from tests.support.golden import Golden
from tests.support.odd_profiles import HUGE, ODD_NAMES, odd, shuffled
from tests.support.profiles import LEAF, MIDDLE, ROOT, SPAN, cpu_and_wall, profile_of, row

CPU, WALL = cpu_and_wall()
# How flamegraph.pl takes a line apart.
LINE = re.compile(r"^(.*)\s+?(\d+(?:\.\d*)?)$")


def stacks(blob: bytes) -> dict[tuple[str, ...], int]:
    """The frames of each line, root first, and its value."""
    found: dict[tuple[str, ...], int] = {}
    for line in blob.decode().splitlines():
        match = LINE.match(line)
        assert match, line
        frames = tuple(match[1].split(";"))
        assert frames not in found
        found[frames] = int(match[2])
    return found


class TestBytes:
    def test_of_cpu_and_wall_are_cpu_time(self, golden: Golden) -> None:
        golden.check("cpu_and_wall.folded", collapsed.encode([WALL, CPU]))

    def test_with_lines(self, golden: Golden) -> None:
        golden.check("wall_lines.folded", collapsed.encode([CPU, WALL], value="wall", lines=True))

    def test_of_odd_names(self, golden: Golden) -> None:
        golden.check("odd.folded", collapsed.encode([odd()], lines=True))

    @pytest.mark.parametrize("profile", [CPU, odd()], ids=["cpu", "odd"])
    def test_do_not_depend_on_the_order_of_rows(self, profile: Profile) -> None:
        assert collapsed.encode([shuffled(profile)]) == collapsed.encode([profile])

    def test_of_no_samples_are_none(self) -> None:
        assert collapsed.encode([profile_of()]) == b""

    def test_no_profile_is_an_error(self) -> None:
        with pytest.raises(FormatError, match="collapsed: there is no profile"):
            collapsed.encode([])


class TestStacks:
    def test_are_root_first_and_sorted(self) -> None:
        text = collapsed.encode([CPU]).decode()
        names = [";".join(p.function for p in s) for s in ((ROOT,), (ROOT, LEAF), (ROOT, MIDDLE))]
        lines = [line.rpartition(" ")[0] for line in text.splitlines()]
        assert lines[:3] == names
        assert lines == sorted(lines)

    def test_of_all_spans_threads_and_lines_add_up(self) -> None:
        other_line = LEAF._replace(line=9)
        profile = profile_of(
            row(LEAF, ROOT, values=(1, 10), link=SPAN),
            row(LEAF, ROOT, values=(1, 5), thread_name="worker"),
            row(other_line, ROOT, values=(1, 2)),
        )
        assert stacks(collapsed.encode([profile])) == {(ROOT.function, LEAF.function): 17}
        by_line = stacks(collapsed.encode([profile], lines=True))
        assert sorted(by_line.values()) == [2, 15]

    def test_of_several_profiles_of_a_kind_add_up(self) -> None:
        twice = stacks(collapsed.encode([CPU, CPU]))
        assert twice == {frames: 2 * n for frames, n in stacks(collapsed.encode([CPU])).items()}

    def test_that_weigh_nothing_are_left_out(self) -> None:
        profile = profile_of(row(LEAF, values=(1, 0)), row(ROOT, values=(0, 1)))
        assert stacks(collapsed.encode([profile])) == {(ROOT.function,): 1}

    def test_keep_their_depth_and_value_whatever_the_names(self) -> None:
        found = stacks(collapsed.encode([odd()]))
        assert sum(found.values()) == sum(odd().column("cpu"))
        assert found[ROOT.function, MIDDLE.function] == HUGE
        (deepest,) = (frames for frames in found if len(frames) == len(ODD_NAMES) + 1)
        assert found[deepest] == 10_000_000
        assert deepest[:0:-1] == (
            r"semi\x3bcolon",
            r"new\nline",
            r"carriage\rreturn",
            r"tab\tname",
            "qu\"ot'es\\n",
            r"nul\x00 escape\x1b[31m",
            r"\x85next\u2028line",
            r"surrogate\udcff",
            "größe.\u2603.\U0001d11e",
            " 12",
            "</script><!--",
            "__proto__",
        )

    def test_a_function_without_a_name_shows_its_file(self) -> None:
        assert (ROOT.function, r"/srv/ap\x3bp\n/\udcff.py") in stacks(collapsed.encode([odd()]))


class TestValue:
    @pytest.mark.parametrize(
        ("name", "total"),
        [
            ("", sum(CPU.column("cpu"))),
            ("cpu", sum(CPU.column("cpu"))),
            ("cpu/cpu", sum(CPU.column("cpu"))),
            ("cpu/samples", sum(CPU.column("samples"))),
            ("wall", sum(WALL.column("wall"))),
            ("wall/samples", sum(WALL.column("samples"))),
        ],
    )
    def test_is_the_one_that_was_asked_for(self, name: str, total: int) -> None:
        assert sum(stacks(collapsed.encode([WALL, CPU], value=name)).values()) == total

    def test_of_a_kind_without_a_name_of_its_own_is_the_weight(self) -> None:
        types = (ValueType("inuse_objects", "count"), ValueType("inuse_space", "bytes"))
        heap = profile_of(row(LEAF, values=(2, 64)), kind="heap", value_types=types)
        assert stacks(collapsed.encode([heap])) == {(LEAF.function,): 64}
        named = collapsed.encode([CPU, heap], value="heap/inuse_objects")
        assert stacks(named) == {(LEAF.function,): 2}

    def test_that_is_not_there_is_an_error_that_lists_those_that_are(self) -> None:
        with pytest.raises(
            FormatError,
            match="collapsed: no value is named 'memory', only cpu, cpu/samples, wall, wall/samples",
        ):
            collapsed.encode([CPU, WALL], value="memory")
