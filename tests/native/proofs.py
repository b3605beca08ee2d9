"""A program, run by mutated.py: what of the samples proved by one means alone is wrong, as a line of JSON."""

import json
import os
import sys

from opentelemetry.trace.propagation import _SPAN_KEY

from tests.native import flutter
from tests.native.installed import core
from tests.native.spans import Spans, tally
from tests.native.test_labels_flutter import attached_in_turn, in_contexts_of_their_own
from tests.native.test_stacks import impossible, spin_at_depth
from tests.native.windows import UNREAD, named, record, say, total


def main(*, passes: int, cpus: int) -> None:
    core.set_labels(enabled=True, span_key=_SPAN_KEY)
    if cpus == 1:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    facts = {"samples": 0, "torn": 0, "impossible": 0, "labels": 0, "wrong": 0}
    for workload in (spin_at_depth(3), flutter.deep_generators, flutter.deep_across_chunks):
        rows = record(workload, passes=passes, apart=cpus > 1).of_thread()
        facts["samples"] += total(rows)
        facts["torn"] += total(named(rows, UNREAD))
        facts["impossible"] += impossible(rows).total()
    for change in (attached_in_turn, in_contexts_of_their_own):
        spans = Spans(2)
        found = tally(
            record(
                change(spans), passes=passes, settings={"var": spans.var}, apart=cpus > 1
            ).of_thread()
        )
        facts["labels"] += found.right.total()
        facts["wrong"] += found.wrong.total()
    say(json.dumps(facts))


if __name__ == "__main__":
    main(passes=int(sys.argv[1]), cpus=int(sys.argv[2]))
