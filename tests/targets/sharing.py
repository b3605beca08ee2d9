"""One of several processes that share a spool while nobody takes anything: a flush for each line of input.

sharing.py DIRECTORY BUDGET_BYTES      prints what it has dropped so far, after each
"""

import sys
from pathlib import Path

from tests.support.pipelines import RETRY, FakeClock, FakeExporter, on_disk, running

directory, budget_bytes = Path(sys.argv[1]), int(sys.argv[2])
clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
with running(clock, limits=on_disk(directory, disk_bytes=budget_bytes), sink=sink) as bench:
    for _ in sys.stdin:
        bench.collector.give()
        clock.advance(bench.flush_s)
        dropped = bench.pipeline.statistics().get("sink.dropped_profiles", 0)
        sys.stdout.write(f"{dropped}\n")
        sys.stdout.flush()
