"""The accounts balance at any instant, for whoever looks, while all threads work."""

import random
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from otelprof.delivery.ledger import Ledger
from otelprof.interfaces import DELIVERED, Outcome
from otelprof.model import Batch
from tests.support.pipelines import (
    PATIENCE_S,
    REFUSED,
    RETRY,
    FakeExporter,
    on_disk,
    running,
)
from tests.support.waiting import wait_until

FLUSHES = 100
LOOKS = 200  # of each reader
PAUSE_MOST_S = 0.002


def at_random(seed: int) -> FakeExporter:
    """Takes, refuses, rejects a part, raises and puts off."""
    rng = random.Random(seed)
    partly = Outcome("delivered", "some", rejected_profiles=1)

    def react(_: Batch, __: float) -> Outcome:
        outcome = rng.choice([DELIVERED, DELIVERED, partly, REFUSED, RETRY, None])
        if outcome is None:
            raise ValueError("not like this")
        return outcome

    return FakeExporter(then=react, destination="there" if seed % 2 else "")


def imbalance(counts: Mapping[str, int]) -> list[str]:
    """What of profiles and samples does not add up."""

    def total(what: str, *states: str) -> int:
        return sum(counts.get(f"{state}_{what}", 0) for state in states)

    return [
        what
        for what in ("profiles", "samples")
        if total(what, "collected", "adopted")
        != total(what, "delivered", "refused", "dropped", "waiting", "left")
    ]


def test_they_do_for_readers_beside_all_that_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, found, is_over = [0, 0], list[str](), threading.Event()
    change = Ledger._change

    def watched_change(ledger: Ledger, changes: Mapping[str, int]) -> None:
        """A reader could look between any two changes."""
        change(ledger, changes)
        found.extend(imbalance(ledger.counts()))

    monkeypatch.setattr(Ledger, "_change", watched_change)
    dead = FakeExporter(then=RETRY, destination="here")
    # So little room that batches are dropped on the way, too.
    limits = on_disk(tmp_path, disk_bytes=8 * 4096)
    with running(limits=limits, sink0=at_random(0), sink1=at_random(1), dead=dead) as bench:

        def look(reader: int) -> None:
            rng = random.Random(reader)
            while not is_over.wait(rng.uniform(0.0, PAUSE_MOST_S)):
                looks[reader] += 1
                for name, counts in bench.pipeline.ledgers().items():
                    found.extend(f"{name}: {what}: {counts}" for what in imbalance(counts))

        readers = [threading.Thread(target=look, args=(number,)) for number in range(len(looks))]
        for reader in readers:
            reader.start()
        try:
            for flush in range(FLUSHES):
                bench.collector.give(1 + flush % 3)
                bench.pipeline.flush(PATIENCE_S)
            wait_until(lambda: min(looks) >= LOOKS)
        finally:
            is_over.set()
            for reader in readers:
                reader.join()
        counted = bench.pipeline.statistics()
    assert found == []
    states = ("delivered", "refused", "retried")
    assert all(counted[f"sink0.{state}_profiles"] for state in states), counted
    assert counted["dead.dropped_profiles.budget"] > 0
