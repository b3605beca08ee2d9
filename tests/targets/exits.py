"""Is profiled as its environment says, and ends as its argument says; tells when its own code was done."""

import os
import subprocess
import sys
import time

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import otelprof
from tests.targets.burning import burn, tell

trace.set_tracer_provider(TracerProvider())
otelprof.Profiler().start()
burn(0.3)
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
