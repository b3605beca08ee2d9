"""Programs whose stacks change as fast as Python can call, and which of their stacks are possible.

Every function has its own callers, so a stack that was put together from two moments shows.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from tests.native.windows import ELIDED, TRUNCATED, UNREAD, Goal

ROUNDS = 50

CALLERS = {
    "leaf_a": {"hot_a", "generator_a"},
    "leaf_b": {"hot_b", "generator_b"},
    "hot_a": {"spin"},
    "hot_b": {"spin"},
    "spin": {"deep"},
    "linger": {"deep"},
    "deep": {"deep", "spin_at_depth.<locals>.workload"},
    "generator_a": {"advance_a"},
    "generator_b": {"advance_b"},
    "advance_a": {"spin_generators"},
    "advance_b": {"spin_generators"},
    "oscillate": {"oscillate", "spin_across_chunks"},
    "spin_across_chunks": {"deep_across_chunks"},
    "spin_generators": {"deep_generators"},
    "Goal.is_reached": {"spin", "linger", "spin_generators", "spin_across_chunks"},
}
# What runs all the time in each workload and stands at one call, with its callers.
STAYS = {
    "depth 3": "spin_at_depth.<locals>.workload",
    "depth 200": "spin_at_depth.<locals>.workload",
    "generators": "deep_generators",
    "edges of chunks": "deep_across_chunks",
}


def leaf_a(n: int) -> int:
    n += 1
    n += 2
    return n


def leaf_b(n: int) -> int:
    n += 1
    n += 2
    return n


def hot_a(n: int) -> None:
    leaf_a(n)
    leaf_a(n)


def hot_b(n: int) -> None:
    leaf_b(n)
    leaf_b(n)


def spin(goal: Goal) -> None:
    while not goal.is_reached():
        for _ in range(ROUNDS):
            hot_a(1)
            hot_b(1)


def linger(goal: Goal) -> None:
    """Stays in itself for longer than a reading takes."""
    while not goal.is_reached():
        for _ in range(2_000):
            pass


def deep(depth: int, goal: Goal, leaf: Callable[[Goal], None]) -> None:
    if depth:
        deep(depth - 1, goal, leaf)
    else:
        leaf(goal)


def generator_a() -> Iterator[None]:
    while True:
        leaf_a(1)
        yield


def generator_b() -> Iterator[None]:
    while True:
        leaf_b(1)
        yield


def advance_a(generator: Iterator[None]) -> None:
    next(generator)


def advance_b(generator: Iterator[None]) -> None:
    next(generator)


def spin_generators(goal: Goal) -> None:
    a, b = generator_a(), generator_b()
    while not goal.is_reached():
        for _ in range(ROUNDS):
            advance_a(a)
            advance_b(b)


def deep_generators(goal: Goal) -> None:
    spin_generators(goal)


def oscillate(depth: int) -> None:
    """200 frames of it are more than the 16 KiB of one chunk of the data stack."""
    if depth:
        oscillate(depth - 1)


def spin_across_chunks(goal: Goal) -> None:
    while not goal.is_reached():
        oscillate(200)


def deep_across_chunks(goal: Goal) -> None:
    spin_across_chunks(goal)


def is_possible(names: Sequence[str]) -> bool:
    """Whether a stack, leaf first, can have been: every caller is a caller, and it reaches the thread's root."""
    if names == (UNREAD,):
        return True
    shown = names[1:] if names[0] == TRUNCATED else names
    if not shown:
        return False  # nothing of it was proved: that is a stack not read
    for callee, caller in pairwise(shown):
        if caller != ELIDED and caller not in CALLERS.get(callee, {caller}):
            return False
    return shown[-1] == "Thread._bootstrap"
