"""Is profiled as its environment says, and ends as its argument says; tells when its own code was done.

With a second argument it is not done before there is a file of that name; if that is `built`, before its exporters are,
which may take longer on a busy machine than the time of an exit.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import otelprof
from tests.targets.burning import burn, tell

trace.set_tracer_provider(TracerProvider())
profiler = otelprof.Profiler()
profiler.start()
burn(0.3)


def is_there(name: str) -> bool:
    if name == "built":
        return all(lane.is_built.is_set() for lane in profiler._pipeline._lanes.values())
    return Path(name).exists()


for name in sys.argv[2:]:
    deadline = time.monotonic() + 60
    while not is_there(name) and time.monotonic() < deadline:
        burn(0.01)  # so that there is something to collect
tell(done_ns=time.monotonic_ns(), pid=os.getpid())
match sys.argv[1]:
    case "raise":
        raise RuntimeError("the script's own error")
    case "leave":
        os._exit(4)
    case "start another":
        subprocess.run([sys.executable, __file__, "0"], check=True, timeout=60)
    case "wait":
        while True:
            time.sleep(60)
    case code:
        sys.exit(int(code))
