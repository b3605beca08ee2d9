"""Computes in two spans and outside of them, knows nothing of otelprof, and ends as its argument says."""

import os
import signal
import sys
import threading
import time
from types import FrameType

from opentelemetry import trace

from tests.targets.burning import LEARNING_S, burn, tell


def burn_checkout() -> None:
    burn()


def burn_payment() -> None:
    burn()


def burn_outside() -> None:
    burn(LEARNING_S)


def main() -> None:
    tracer = trace.get_tracer("target")
    spans: dict[str, str] = {}
    burn_outside()
    with tracer.start_as_current_span("checkout") as checkout:
        burn_checkout()
        with tracer.start_as_current_span("payment") as payment:
            burn_payment()
    for name, span in (("checkout", checkout), ("payment", payment)):
        context = span.get_span_context()
        spans[name] = f"{context.trace_id:032x}:{context.span_id:016x}"
    tell(
        spans=spans,
        threads=[thread.name for thread in threading.enumerate()],
        arguments=sys.argv[2:],
    )


def wait_for_a_signal() -> None:
    tell(ready=True)
    while True:
        # Not signal.pause(): a signal that comes while this thread waits for the GIL is seen too late for that.
        time.sleep(0.05)


def leave_by_hand(number: int, _: FrameType | None) -> None:
    tell(signal=number)
    sys.exit(5)


if __name__ == "__main__":
    match sys.argv[1:2]:
        case ["wait"]:
            wait_for_a_signal()
        case ["handle"]:
            for handled in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(handled, leave_by_hand)
            wait_for_a_signal()
        case ["exit"]:
            main()
            sys.exit(3)
        case ["raise"]:
            raise RuntimeError("the script's own error")
        case ["leave"]:
            os._exit(4)
        case _:
            main()
