"""The files in which the core reads whether a thread waits: their numbers are not the program's, nor its files theirs."""

import hashlib
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.native.alone import run_alone
from tests.native.drained import wait_for_passes
from tests.native.installed import core
from tests.native.test_descriptors import HIGH, descriptors, own_file, words_in
from tests.support.waiting import wait_until

STAT = re.compile(r"/proc/\d+/task/\d+/stat$")
PIECE = bytes(1 << 24)


def stat_files() -> list[int]:
    return [number for number, file in descriptors().items() if STAT.search(file)]


@contextmanager
def asked_about() -> Iterator[core.Sampler]:
    """A sampler whose processor two threads without the GIL use, too: so it must ask whether they wait."""
    stop = threading.Event()

    def hash_all() -> None:
        while not stop.is_set():
            hashlib.sha256(PIECE).digest()

    processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, processors[:1])
    threads = [threading.Thread(target=hash_all) for _ in range(2)]
    sampler = core.Sampler(period_ns=1_000_000, cpu_budget=1.0)
    for thread in threads:
        thread.start()
    sampler.start()
    try:
        wait_until(stat_files)
        yield sampler
    finally:
        sampler.stop()
        stop.set()
        for thread in threads:
            thread.join()


def numbers_of_stat_files() -> tuple[list[int], list[int]]:
    with asked_about() as sampler:
        wait_for_passes(sampler, 200)
        running = stat_files()
    return running, stat_files()


def words_in_their_places() -> list[str]:
    """What the program's files hold that it has put where the core's were."""
    with asked_about() as sampler, own_file() as mine:
        taken = stat_files()
        for number in taken:
            os.dup2(mine.fileno(), number)
        wait_for_passes(sampler, 500)
    words = [words_in(number).decode() for number in taken]
    for number in taken:
        os.close(number)
    return words


def test_they_lie_high_and_are_closed_at_the_stop() -> None:
    running, stopped = run_alone(numbers_of_stat_files)
    assert running
    assert min(running) >= HIGH
    assert stopped == []


def test_one_that_the_program_has_taken_is_left_to_it() -> None:
    words = run_alone(words_in_their_places)
    assert words
    assert set(words) == {"the program's own words\n"}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_none() -> None:
    assert run_alone(stat_files_of_a_child) == 0


def stat_files_of_a_child() -> int:
    with asked_about():
        child = os.fork()
        if child == 0:
            os._exit(len(stat_files()))
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
