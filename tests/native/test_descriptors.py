"""The core's descriptor in a program that closes what it does not own: its files stay its own."""

import hashlib
import json
import logging
import os
import resource
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest

from otelprof.collectors.core import CoreCollector
from otelprof.config import Config
from otelprof.labels import spans_by
from tests.native import windows
from tests.native.alone import run_alone
from tests.native.drained import burn, cpu_ns_of, wait_for_passes
from tests.native.installed import core
from tests.native.sandbox import MEMFD_CREATE, PREAD64, PROCESS_VM_READV, forbid
from tests.support.waiting import wait_until

PERIOD_NS = 1_000_000
SELDOM_NS = 100_000_000  # after a pass, there is none for half as long
ALL = (3, 65_536)  # what daemons close
WORDS = b"the program's own words\n"
UP_TO_NOW = Path("/proc/sys/kernel/ns_last_pid")
CLOSINGS = 100
NO_GIL_S = 5.0
HIGH = 100
LOST_LOG = (
    "otelprof: the program has closed a descriptor of the C core's; "
    "memory is now read by: process_vm_readv"
)


def descriptors() -> dict[int, str]:
    found: dict[int, str] = {}
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that of the listing
            found[int(link.name)] = str(link.readlink())
    return found


def ours() -> list[int]:
    """Where the core has one."""
    return [
        number
        for number, file in descriptors().items()
        if file.startswith("/memfd:otelprof") or file.endswith("/mem")
    ]


def new_sampler(backend: str | None = None, period_ns: int = PERIOD_NS) -> core.Sampler:
    return core.Sampler(period_ns=period_ns, cpu_budget=1.0, backend=backend)


def sees_itself(sampler: core.Sampler) -> bool:
    sampler.drain()
    for _ in range(5):
        burn(5)
        wait_for_passes(sampler, 2)
    rows = windows.rows_of(sampler.drain())
    return windows.total(windows.named(rows, "sees_itself")) >= 0.9 * windows.total(rows) > 0


def own_file() -> IO[bytes]:
    """A file of the program's, with its words in it."""
    file = tempfile.TemporaryFile("w+b", buffering=0)  # noqa: SIM115 - the caller's
    file.write(WORDS)
    return file


def words_in(number: int) -> bytes:
    return os.pread(number, 1 << 22, 0)


@pytest.mark.parametrize("backend", ["memfd", "proc_mem"])
def test_it_has_a_number_that_new_files_do_not_get(backend: str) -> None:
    assert run_alone(numbers_of, backend) == [True, 0]


def numbers_of(backend: str) -> list[object]:
    before = descriptors()
    sampler = new_sampler(backend)
    (number,) = ours()
    is_high = number >= HIGH and not os.get_inheritable(number)
    del sampler
    return [is_high, len(descriptors()) - len(before)]


def test_where_all_high_numbers_are_taken_it_has_a_low_one() -> None:
    assert run_alone(sample_with_few_numbers) == ["memfd", True]


def sample_with_few_numbers() -> list[object]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, most))
    sampler = new_sampler()
    sampler.start()
    return [sampler.health()["backend"], sees_itself(sampler)]


def test_sampling_goes_on_where_a_program_closes_all_descriptors() -> None:
    assert run_alone(close_all) == ["process_vm_readv", 1, True, WORDS.decode()]


def close_all() -> list[object]:
    sampler = new_sampler()
    sampler.start()
    wait_for_passes(sampler)
    return _close_all(sampler)


def _close_all(sampler: core.Sampler) -> list[object]:
    os.closerange(*ALL)
    file = own_file()
    goes_on = sees_itself(sampler)
    health = sampler.health()
    sampler.stop()
    words = words_in(file.fileno()).decode()
    return [health["backend"], health["descriptors_lost"], goes_on, words]


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("before it is opened again", ["memfd", 0, True, WORDS.decode()]),
        ("before the first pass", ["process_vm_readv", 1, True, WORDS.decode()]),
        ("after the first pass", ["process_vm_readv", 1, True, WORDS.decode()]),
    ],
)
def test_sampling_goes_on_in_a_forked_child_that_closes_all(
    moment: str, expected: list[object]
) -> None:
    assert run_alone(close_all_in_a_child, moment) == [expected, 0, "memfd", True]


def close_all_in_a_child(moment: str) -> list[object]:
    sampler = new_sampler()
    sampler.start()
    wait_for_passes(sampler)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(write_end, 0)  # so that it outlives what follows
        os.write(0, json.dumps(_daemon(sampler, moment)).encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as answer:
        said = json.load(answer)
    status = os.waitpid(child, 0)[1]
    return [said, status, sampler.health()["backend"], sees_itself(sampler)]


def _daemon(sampler: core.Sampler, moment: str) -> list[object]:
    if moment == "before it is opened again":
        os.closerange(*ALL)
        file = own_file()
        sampler.after_fork()
        sampler.start()
        goes_on = sees_itself(sampler)
        health = sampler.health()
        words = words_in(file.fileno()).decode()
        return [health["backend"], health["descriptors_lost"], goes_on, words]
    sampler.after_fork()
    if moment == "after the first pass":
        sampler.start()
        wait_for_passes(sampler)
        return _close_all(sampler)
    os.closerange(*ALL)
    sampler.start()
    return _close_all(sampler)


@pytest.mark.parametrize("backend", ["memfd", "proc_mem", None])
def test_a_file_that_gets_the_number_keeps_its_bytes_and_stays_open(backend: str | None) -> None:
    found = run_alone(take_the_number, backend)
    assert found == {
        "words": WORDS.decode(),
        "backend": backend or "process_vm_readv",
        "lost": 1,
        "goes on": True,
        "in a child": 0,
        "at the end": (2 * WORDS).decode(),
    }


def take_the_number(backend: str | None) -> dict[str, object]:
    sampler = new_sampler(backend, SELDOM_NS)
    file = own_file()
    (number,) = ours()
    sampler.start()
    wait_for_passes(sampler)
    os.dup2(file.fileno(), number)
    burn(
        4 * SELDOM_NS / 1e6
    )  # without a look at its health, which would look at the descriptor, too
    found: dict[str, object] = {"words": words_in(number).decode()}
    found["backend"] = sampler.health()["backend"]
    found["lost"] = sampler.health()["descriptors_lost"]
    sampler.set_period_ns(PERIOD_NS)
    found["goes on"] = sees_itself(sampler)
    child = os.fork()
    if child == 0:
        os._exit(0 if words_in(number) == WORDS else 1)
    found["in a child"] = os.waitpid(child, 0)[1]
    del sampler
    os.write(number, WORDS)
    found["at the end"] = words_in(number).decode()
    return found


def test_a_file_that_gets_the_number_stays_open_whatever_ends_first() -> None:
    assert run_alone(end_with_the_number_taken) == [0, WORDS.decode()]


def end_with_the_number_taken() -> list[object]:
    """Without a pass that could have noticed."""
    sampler = new_sampler()
    file = own_file()
    (number,) = ours()
    os.dup2(file.fileno(), number)
    child = os.fork()
    if child == 0:
        is_open = words_in(number) == WORDS
        sampler.after_fork()
        del sampler
        os._exit(0 if is_open and words_in(number) == WORDS else 1)
    _, status = os.waitpid(child, 0)
    del sampler
    return [status, words_in(number).decode()]


@pytest.mark.parametrize(
    ("forbidden", "backend"),
    [
        ([PROCESS_VM_READV], "memfd"),
        ([PROCESS_VM_READV, MEMFD_CREATE], "proc_mem"),
    ],
)
def test_what_a_sandbox_forbids_is_done_with_a_new_descriptor(
    forbidden: list[int], backend: str
) -> None:
    assert run_alone(close_all_in_a_sandbox, forbidden) == [backend, 1, True, WORDS.decode()]


def close_all_in_a_sandbox(forbidden: list[int]) -> list[object]:
    sampler = new_sampler()
    sampler.start()
    wait_for_passes(sampler)
    forbid(forbidden)
    # The filter is this thread's and of those that it starts.
    sampler.stop()
    sampler.start()
    return _close_all(sampler)


def test_where_nothing_is_left_it_says_none_and_the_program_goes_on() -> None:
    assert run_alone(close_all_where_all_is_forbidden) == ["none", 1, False, "none"]


def close_all_where_all_is_forbidden() -> list[object]:
    sampler = new_sampler()
    sampler.start()
    sampler.stop()
    forbid([PROCESS_VM_READV, MEMFD_CREATE, PREAD64])
    os.closerange(*ALL)
    sampler.start()
    goes_on = sees_itself(sampler)
    before = sampler.health()
    sampler.stop()
    return [before["backend"], before["descriptors_lost"], goes_on, sampler.health()["backend"]]


@pytest.mark.parametrize("backend", ["memfd", "proc_mem"])
def test_a_way_that_was_asked_for_is_opened_again_in_the_middle_of_a_pass_too(backend: str) -> None:
    assert run_alone(close_often, backend) == [backend, CLOSINGS, True, 1]


def close_often(backend: str) -> list[object]:
    sampler = new_sampler(backend)
    sampler.start()
    for number in range(CLOSINGS):
        for descriptor in ours():
            os.close(descriptor)
        burn(number % 10 / 7)
        wait_for_passes(sampler)
    goes_on = sees_itself(sampler)
    health = sampler.health()
    return [health["backend"], health["descriptors_lost"], goes_on, len(ours())]


def test_the_collector_says_once_that_its_descriptor_was_closed() -> None:
    assert run_alone(what_the_collector_says) == [
        [],
        [LOST_LOG],
        "process_vm_readv",
        1,
    ]


def what_the_collector_says() -> list[object]:
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign] # shorter than a class
    logging.getLogger("otelprof").addHandler(handler)
    collector = CoreCollector(("cpu",), Config(), spans_by(lambda _: 0).labels)
    collector.start()
    collector.tick()
    before = said.copy()
    os.closerange(*ALL)
    collector.tick()
    collector.drain()
    collector.stop()
    return [before, said, collector.facts()["backend"], collector.health()["descriptors_lost"]]


def test_without_a_descriptor_to_spare_cpu_time_without_the_gil_has_its_stack() -> None:
    shares = run_alone(hash_beside_a_spinner)
    assert shares["hashing"] >= 0.8, shares
    assert shares["(between samples)"] <= 0.1, shares


def hash_beside_a_spinner() -> dict[str, float]:
    """Of a thread that computes without the GIL: both and the sampler have one processor."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    sampler = new_sampler(period_ns=10_000_000)
    stop = threading.Event()
    piece = os.urandom(1 << 22)
    used_ns: list[int] = []

    def hashing() -> None:
        while not stop.is_set():
            hashlib.sha256(piece).digest()
        used_ns.append(time.thread_time_ns())

    def spinning() -> None:
        while not stop.is_set():
            burn(5)

    threads = [threading.Thread(target=hashing), threading.Thread(target=spinning)]
    sampler.start()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
    for thread in threads:
        thread.start()
    threads[0].join(NO_GIL_S)
    stop.set()
    for thread in threads:
        thread.join()
    sampler.stop()
    rows = [r for r in windows.rows_of(sampler.drain()) if r.thread[1] == threads[0].native_id]
    return {
        name: cpu_ns_of([row for row in rows if row.names[0].endswith(name)]) / used_ns[0]
        for name in ("hashing", "(between samples)")
    }


@pytest.mark.skipif(not os.access(UP_TO_NOW, os.W_OK), reason="only root can choose a kernel's id")
def test_a_thread_that_gets_the_id_of_one_of_ours_is_sampled() -> None:
    assert run_alone(reuse_an_id) is True


def reuse_an_id() -> bool:
    sampler = new_sampler()
    sampler.start()
    stop = threading.Event()

    def own() -> None:
        burn(50)
        stop.wait()

    thread = threading.Thread(target=own)
    thread.start()
    assert thread.native_id
    native_id = thread.native_id
    sampler.leave_out(native_id)
    wait_for_passes(sampler, 2)
    stop.set()
    thread.join()
    wait_for_passes(sampler, 2)
    sampler.drain()
    wait_until(lambda: _burn_in_a_thread(after=native_id - 1) == native_id)
    sampler.stop()
    mine = [row for row in windows.rows_of(sampler.drain()) if row.thread[1] == native_id]
    return windows.total(windows.named(mine, "burn")) > 0


def _burn_in_a_thread(after: int) -> int | None:
    UP_TO_NOW.write_text(str(after))
    thread = threading.Thread(target=burn, args=(20,))
    thread.start()
    thread.join()
    return thread.native_id
