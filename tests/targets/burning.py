"""What all targets do: compute for a while, in a function whose name tells where."""

import json
import sys
import time
from typing import Any

CPU_S = 0.1
LEARNING_S = 0.3  # of CPU time: the first samples come after the sampler has learned its way about


def burn(cpu_s: float = CPU_S) -> None:
    """Use so much CPU time, however busy the machine is."""
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        sum(range(500))


def tell(**facts: Any) -> None:
    """Say something to the test, as a line of JSON."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
