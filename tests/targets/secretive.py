"""Has a canary in every place that a profile or a span takes text from. The argument is the canary."""

import sys
import threading
from typing import Any

from opentelemetry import trace

import otelprof
from tests.targets.burning import tell

CANARY = sys.argv[1]
SOURCE = """
def burn_secretly():
    return sum(i * i % 7 for i in range(3_000_000))
"""


def work() -> None:
    with trace.get_tracer("target").start_as_current_span(f"GET /cb?token={CANARY}&page=2"):
        namespace["burn_secretly"]()
    # While the thread is there, or its name would be forgotten.
    otelprof.start().flush()


namespace: dict[str, Any] = {}
exec(compile(SOURCE, f"/home/{CANARY}/shop/app.py", "exec"), namespace)
thread = threading.Thread(target=work, name=f"pg://bob:{CANARY}@db")
thread.start()
thread.join()
tell(health=dict(otelprof.start().health()))
