"""Interning: what is kept of a stack, and what happens when there is too much of it."""

import sys
from collections.abc import Callable
from types import FrameType

import pytest

from otelprof.collectors import window as window_module
from otelprof.collectors.window import MAX_DEPTH, Window
from otelprof.context import UNKNOWN
from otelprof.model import Profile


def frame_at(depth: int) -> FrameType:
    if depth == 0:
        return sys._getframe()
    return frame_at(depth - 1)


def names_of(profile: Profile) -> list[list[str]]:
    tables = profile.tables
    return [[tables.function_name(f) for f in tables.stacks[s]] for s in profile.stack]


def wall_of(window: Window) -> Profile:
    profiles, _ = window.profiles(("wall",), 1, 10_000_000, 0)
    assert [profile.problem() for profile in profiles] == [None]
    return profiles[0]


def test_equal_stacks_are_one() -> None:
    window = Window(0, 0)

    def here() -> object:
        return window.intern(sys._getframe())

    first, second = [here() for _ in range(2)]
    assert first is second


def test_another_line_is_another_stack() -> None:
    window = Window(0, 0)
    first = window.intern(sys._getframe())
    second = window.intern(sys._getframe())
    assert first is not second


def test_names_files_and_lines_are_those_of_the_frame() -> None:
    window = Window(0, 0)
    frame = sys._getframe()
    window.add(window.intern(frame), None, "t", 5, 0)
    line = frame.f_lineno - 1
    profile = wall_of(window)
    leaf = profile.tables.stacks[profile.stack[0]][0]
    function = profile.tables.function_of(leaf)
    assert profile.tables.frames[leaf].line == line
    assert function.start_line == frame.f_code.co_firstlineno
    assert profile.tables.strings[function.filename] == __file__
    expected = "test_names_files_and_lines_are_those_of_the_frame"
    assert profile.tables.function_name(leaf) == f"{__name__}.{expected}"


def test_code_without_a_module_has_no_prefix() -> None:
    namespace: dict[str, Callable[[], FrameType]] = {}
    exec("import sys\ndef lonely():\n  return sys._getframe()", namespace)
    window = Window(0, 0)
    window.add(window.intern(namespace["lonely"]()), None, "t", 5, 0)
    assert names_of(wall_of(window))[0][0] == "lonely"


def test_a_deep_stack_keeps_both_ends() -> None:
    window = Window(0, 0)
    window.add(window.intern(frame_at(500)), None, "t", 5, 0)
    (names,) = names_of(wall_of(window))
    assert len(names) == MAX_DEPTH
    assert names.count("(frames elided)") == 1
    assert names[0].endswith("frame_at")
    root = sys._getframe()
    while root.f_back is not None:
        root = root.f_back
    assert names[-1].endswith(root.f_code.co_qualname)
    assert window.losses == {}


def test_a_stack_too_deep_to_read_says_so() -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(5_000)
    try:
        window = Window(0, 0)
        window.add(window.intern(frame_at(3_000)), None, "t", 5, 0)
    finally:
        sys.setrecursionlimit(limit)
    (names,) = names_of(wall_of(window))
    assert names[-1] == "(deeper frames not read)"
    assert set(names[:-1]) == {f"{__name__}.frame_at"}
    assert window.losses == {"truncated": 1}


def test_too_many_stacks_go_to_one_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_module, "MAX_STACKS", 3)
    window = Window(0, 0)
    for depth in range(6):
        window.add(window.intern(frame_at(depth)), None, "t", 1, 0)
    profile = wall_of(window)
    assert sum(profile.column("wall")) == 6
    assert window.losses["overflow"] == 3
    assert ["(more stacks than the profiler keeps)"] in names_of(profile)


def test_too_many_groups_go_to_one_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_module, "MAX_GROUPS", 4)
    window = Window(0, 0)
    stack = window.intern(sys._getframe())
    for number in range(10):
        window.add(stack, (1, number + 1, 0), "t", 1, 0)
    profile = wall_of(window)
    assert sum(profile.column("wall")) == 10
    assert window.losses == {"overflow": 6}


def test_an_unknown_span_is_marked_and_counted() -> None:
    window = Window(0, 0)
    window.add(window.intern(sys._getframe()), UNKNOWN, "t", 7, 0)
    profile = wall_of(window)
    assert profile.link == (0,)
    assert profile.tables.labels_of(profile.labels[0]) == {"span": "unknown", "thread_name": "t"}
    assert profile.losses == (("span_unknown", 1),)


def test_spans_become_links_with_their_local_root() -> None:
    window = Window(0, 0)
    window.add(window.intern(sys._getframe()), (0xAB, 0xCD, 0xEF), "t", 7, 0)
    profile = wall_of(window)
    link = profile.tables.links[profile.link[0]]
    assert (link.trace_id.hex(), link.span_id.hex(), link.local_root_span_id.hex()) == (
        "000000000000000000000000000000ab",
        "00000000000000cd",
        "00000000000000ef",
    )


def test_a_code_object_of_the_window_cannot_be_replaced_by_another_at_its_address() -> None:
    """Functions made, sampled and thrown away: every name must be one that was on the stack then."""
    window = Window(0, 0)
    for number in range(500):
        namespace: dict[str, Callable[[], FrameType]] = {}
        exec(f"import sys\ndef made_{number}():\n  return sys._getframe()", namespace)
        window.add(window.intern(namespace[f"made_{number}"]()), (1, number + 1, 0), "t", 1, 0)
    profile = wall_of(window)
    for row, names in enumerate(names_of(profile)):
        span_id = int.from_bytes(profile.tables.links[profile.link[row]].span_id, "big")
        assert names[0] == f"made_{span_id - 1}"


def test_cpu_counts_are_rounded_without_losing_any() -> None:
    window = Window(0, 0)
    stack = window.intern(sys._getframe())
    for number in range(7):
        window.add(stack, (1, number + 1, 0), "t", 0, 3_000_000)
    profiles, remainder_ns = window.profiles(("cpu",), 1, 10_000_000, 9_000_000)
    counts = profiles[0].column("samples")
    assert sum(counts) * 10_000_000 + remainder_ns == 7 * 3_000_000 + 9_000_000
    assert remainder_ns < 10_000_000
