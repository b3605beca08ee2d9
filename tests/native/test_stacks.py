"""T3, T4, T5: stacks of threads that run while they are read are stacks that were."""

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.native import flutter
from tests.native.windows import (
    ELIDED,
    TRUNCATED,
    UNREAD,
    Goal,
    Recording,
    Row,
    Workload,
    named,
    record,
    recordings,
    say,
    share,
    total,
)

IMPOSSIBLE_MOST = 0.0005
# Of a thread that calls and returns while it is read the leaf may not be proved; what stays must be.
STABLE_LEAST = 0.95
PASSES = 1_500
T3_SAMPLES = 20_000
BACKENDS = ("memfd", "process_vm_readv", "proc_mem")


def spin_at_depth(depth: int, leaf: Callable[[Goal], None] = flutter.spin) -> Workload:
    def workload(goal: Goal) -> None:
        flutter.deep(depth, goal, leaf)

    return workload


WORKLOADS: dict[str, Workload] = {
    "depth 3": spin_at_depth(3),
    "depth 200": spin_at_depth(200),
    "generators": flutter.deep_generators,
    "edges of chunks": flutter.deep_across_chunks,
}


def impossible(rows: list[Row]) -> Counter[tuple[str, ...]]:
    found: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        if not flutter.is_possible(row.names):
            found[row.names[:6]] += row.samples
    return found


def assert_nothing_is_dropped(recording: Recording) -> None:
    rows = recording.of_thread()
    wall_ns = sum(row.wall_ns for row in rows)
    begin_ns = min(row.first_ns for row in rows)
    assert recording.samples() == recording.passes
    assert 0.99 * (recording.times.end_ns - begin_ns) <= wall_ns
    assert wall_ns <= 1.01 * (recording.times.stopped_ns - begin_ns)


def impossible_in(recording: Recording) -> int:
    """How many samples have a stack that never was; what was cut off or not read is counted."""
    rows = recording.of_thread()
    found, count = impossible(rows), total(rows)
    truncated, torn = total(named(rows, TRUNCATED)), total(named(rows, UNREAD))
    say(
        f"samples {count} impossible {found.total()} truncated {truncated} torn {torn}"
        f" retries {recording.health['retries']} {recording.rate_hz:.0f} Hz: {found}"
    )
    assert truncated == recording.losses.get("truncated", 0)
    assert torn == recording.losses.get("torn", 0)
    return found.total()


def assert_stacks_are_possible(recording: Recording) -> None:
    assert impossible_in(recording) <= IMPOSSIBLE_MOST * recording.samples()


def assert_what_stays_is_seen(recording: Recording, name: str) -> None:
    """A function that runs all the time is in every stack, however much of the leaf could not be proved."""
    seen = share(total(named(recording.of_thread(), name)), recording.samples())
    assert seen >= STABLE_LEAST, f"{name} is in {seen:.2%} of the samples: {recording.losses}"


@pytest.mark.parametrize("name", WORKLOADS)
def test_t3_torn_flutter_gives_stacks_that_were(name: str) -> None:
    # The bound is for T3's 20,000 samples: of fewer a single one may be more than the share. One that is found is
    # given all of them to be judged by, unless they are too many already.
    wrong, samples, wanted = 0, 0, 1
    while samples < wanted and wrong <= IMPOSSIBLE_MOST * T3_SAMPLES:
        for recording in recordings(
            WORKLOADS[name], passes=PASSES, settings={"max_depth": 1_000}, apart=True
        ):
            wrong += impossible_in(recording)
            samples += recording.samples()
            assert_nothing_is_dropped(recording)
            assert_what_stays_is_seen(recording, flutter.STAYS[name])
        wanted = T3_SAMPLES if wrong else 1
    assert wrong <= IMPOSSIBLE_MOST * samples, f"impossible stacks: {wrong} of {samples}"


@pytest.mark.parametrize("backend", BACKENDS)
def test_t3_every_way_to_read_memory_gives_stacks_that_were(backend: str) -> None:
    recording = record(
        spin_at_depth(3), passes=PASSES // 2, settings={"backend": backend}, apart=True
    )
    assert recording.health["backend"] == backend
    assert_stacks_are_possible(recording)
    assert_nothing_is_dropped(recording)
    assert_what_stays_is_seen(recording, flutter.STAYS["depth 3"])


@pytest.fixture
def no_recursion_limit() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.usefixtures("no_recursion_limit")
@pytest.mark.parametrize("depth", [3_500, 7_000, 20_000])
def test_t3_of_a_deep_recursion_both_ends_are_kept(depth: int) -> None:
    recording = record(
        spin_at_depth(depth, flutter.linger),
        passes=PASSES // 3,
        settings={"max_depth": 128},
        apart=True,
    )
    assert_stacks_are_possible(recording)
    assert_nothing_is_dropped(recording)
    rows = named(recording.of_thread(), "linger")  # the others are of the way down
    assert share(total(rows), recording.samples()) > 0.8
    for row in rows:
        assert row.names.count(ELIDED) == 1, row.names
        middle = row.names.index(ELIDED)
        assert "linger" in row.names[:middle]
        assert "spin_at_depth.<locals>.workload" in row.names[middle:]
        assert len(row.names) <= 129


SHARES = {"one_part": 1, "two_parts": 2, "five_parts": 5, "ten_parts": 10}


def one_part(n: int) -> None:
    for _ in range(n):
        pass


def two_parts(n: int) -> None:
    for _ in range(2 * n):
        pass


def five_parts(n: int) -> None:
    for _ in range(5 * n):
        pass


def ten_parts(n: int) -> None:
    for _ in range(10 * n):
        pass


class Shares:
    """CPU time of each function, by the thread's own clock."""

    def __init__(self) -> None:
        self.cpu_ns: Counter[str] = Counter()

    def run(self, goal: Goal) -> None:
        while not goal.is_reached():
            for part in (one_part, two_parts, five_parts, ten_parts):
                before_ns = time.thread_time_ns()
                part(3_000)
                self.cpu_ns[part.__name__] += time.thread_time_ns() - before_ns


def distance(seen: Counter[str], true: Counter[str]) -> float:
    """The total variation distance of two distributions."""
    return sum(abs(seen[name] / seen.total() - true[name] / true.total()) for name in true) / 2


def test_t5_cpu_time_is_that_of_an_oracle() -> None:
    # Of n independent samples of 1:2:5:10 the distance is 0.59 / sqrt(n) on average, and for 3,000 above 0.03
    # once in 10,000 runs (simulated). Where others use the processor, the times between samples differ, and with them
    # what each weighs: then it takes the 20,000 that T5's bound of 0.02 is for, and which a soak has.
    shares, seen, samples = Shares(), Counter[str](), 0
    found, wanted = 1.0, 1
    while samples < wanted:
        for recording in recordings(shares.run, passes=3_000):
            samples += recording.samples()
            for row in recording.of_thread():
                seen[next((name for name in row.names if name in SHARES), "other")] += row.cpu_ns
        del seen["other"]
        found = distance(seen, shares.cpu_ns)
        say(f"TVD {found:.4f} of {samples} samples; parts {shares.cpu_ns}")
        wanted = max(wanted, 20_000 if found >= 0.03 else 1)
    bound = 0.02 if samples >= 20_000 else 0.03
    assert found < bound


class Sorting:
    """Wall time in one long C call, and in Python, by the program's own clock."""

    def __init__(self) -> None:
        chance = random.Random(5)
        self.numbers = [chance.random() for _ in range(60_000)]
        self.wall_ns: Counter[str] = Counter()

    def sort_list(self) -> None:
        sorted(self.numbers)

    def count_up(self) -> None:
        for _ in range(400_000):
            pass

    def run(self, goal: Goal) -> None:
        while not goal.is_reached():
            for part in (self.sort_list, self.count_up):
                before_ns = time.monotonic_ns()
                part()
                self.wall_ns[part.__name__] += time.monotonic_ns() - before_ns


def test_sorting_in_one_long_c_call_gets_its_share_of_wall_time() -> None:
    sorting = Sorting()
    recording = record(sorting.run, passes=2_500)
    rows = recording.of_thread()
    seen_ns = sum(row.wall_ns for row in named(rows, "Sorting.sort_list"))
    seen = share(seen_ns, sum(row.wall_ns for row in rows))
    true = share(sorting.wall_ns["sort_list"], recording.elapsed_ns)
    say(f"sorted() has {seen:.2%} of wall time, truly {true:.2%}")
    assert seen == pytest.approx(true, abs=0.02)
