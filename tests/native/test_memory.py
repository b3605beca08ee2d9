"""What the core says of the memory that it takes, against what the kernel shows of the process's mappings."""

import os
import re
import time
from pathlib import Path

import pytest

from tests.native.alone import run_alone
from tests.native.drained import counter, wait_for_passes
from tests.native.installed import IS_SANITIZED, core

KIB = 1024
PERIOD_NS = 1_000_000
SLACK_BYTES = 64 * KIB  # touched between two looks


def test_mapped_is_the_address_space_that_a_sampler_takes() -> None:
    grown, mapped = run_alone(grow_by_a_sampler)
    assert mapped <= grown < mapped + 4 * KIB * KIB


def grow_by_a_sampler() -> list[int]:
    before = _address_space_bytes()
    sampler = core.Sampler(period_ns=PERIOD_NS)
    return [_address_space_bytes() - before, counter(sampler, "sampler_mapped_bytes")]


@pytest.mark.skipif(IS_SANITIZED, reason="AddressSanitizer's own memory looks like the core's")
@pytest.mark.parametrize("backend", ["memfd", "process_vm_readv", "proc_mem"])
def test_resident_is_what_the_kernel_has_given_it(backend: str) -> None:
    looks = run_alone(look_while_it_fills, backend)
    for said, shown in looks:
        assert abs(said - shown) <= SLACK_BYTES, looks
    (new, _), (full, _), (drained, _) = looks
    assert new < full
    assert drained < full


def look_while_it_fills(backend: str) -> list[list[int]]:
    """What a sampler says and what the kernel shows: new, with many stacks, and when those were drained."""
    sampler = core.Sampler(period_ns=PERIOD_NS, cpu_budget=1.0, backend=backend)
    looks = [_look(sampler)]
    sampler.start()
    wait_for_passes(sampler)
    end = time.monotonic() + 0.5
    for number in range(100_000):
        namespace: dict[str, object] = {}
        exec(f"def spin_{number}():\n for _ in range(20_000): pass\nspin_{number}()", namespace)
        if time.monotonic() > end:
            break
    sampler.stop()
    looks.append(_look(sampler))
    sampler.drain()
    looks.append(_look(sampler))
    return looks


def _look(sampler: core.Sampler) -> list[int]:
    return [sampler.resident_bytes(), _core_resident_bytes()]


def test_a_child_of_a_fork_says_what_it_takes_itself() -> None:
    said = run_alone(look_after_a_fork)
    assert said == 0


def look_after_a_fork() -> int:
    sampler = core.Sampler(period_ns=PERIOD_NS, cpu_budget=1.0)
    mapped = counter(sampler, "sampler_mapped_bytes")
    pid = os.fork()
    if not pid:
        closed = counter(sampler, "sampler_mapped_bytes") < mapped  # what it shared is let go
        closed = closed and sampler.resident_bytes() < mapped
        sampler.after_fork()
        os._exit(not (closed and counter(sampler, "sampler_mapped_bytes") == mapped))
    return os.waitpid(pid, 0)[1]


def _address_space_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")


def _core_resident_bytes() -> int:
    """Of mappings without a reserve (`nr`), which only the core's tables are, and of those it reads into."""
    found = 0
    for mapping in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text()):
        if re.search(r"^VmFlags:.*\bnr\b", mapping, re.MULTILINE) or "memfd:otelprof" in mapping:
            rss = re.search(r"^Rss: +(\d+) kB", mapping, re.MULTILINE)
            found += int(rss[1]) * KIB if rss else 0
    return found
