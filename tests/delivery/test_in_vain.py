"""The end of a forked child where its parent has just seen that the receiver takes nothing."""

import json
import sys
from pathlib import Path

from tests.support.programs import run
from tests.support.servers import refusing_port

# The second child forgets what its parent knew, since it has tried itself.
PROGRAM = """
import json, os, time
import otelprof
from tests.targets.burning import burn

def work(tries):
    profiler = otelprof.start()
    burn(0.3)
    if tries:
        profiler.flush(5.0)
        burn(0.3)
    otelprof.stop()
    health = profiler.health()
    facts = {name: health.get(f"otlp.{name}", 0) for name in ("exports", "left_profiles")}
    print(json.dumps(facts), flush=True)
    os._exit(0)

profiler = otelprof.start()
while not profiler.health().get("otlp.retries"):
    burn(0.05)
    profiler.flush(1.0)
for tries in (False, True):
    pid = os.fork()
    if not pid:
        work(tries)
    os.waitpid(pid, 0)
"""


def test_it_does_not_wait_unless_it_has_tried_itself(tmp_path: Path) -> None:
    with refusing_port() as address:
        variables = {
            "OTELPROF_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{address}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTELPROF_STATE_DIR": str(tmp_path / "state"),
            "OTELPROF_FLUSH": "1h",
        }
        finished = run([sys.executable, "-c", PROGRAM], tmp_path, variables)
    assert finished.code == 0, finished.err
    untried, tried = map(json.loads, finished.out.splitlines())
    assert untried["exports"] == 0
    assert tried["exports"] >= 2
    assert untried["left_profiles"] > 0  # on the disk, for others
    assert tried["left_profiles"] > 0
    # The parent says that profiles wait, the second child how many; the first has nothing to add.
    assert finished.err.count("profiles were not delivered") == 2
