"""The smallest program: two spans, one that computes and one that waits.

otelprof run app.py
otelprof show --by span latest

OTELPROF_EXPORTER=file opentelemetry-instrument python app.py
otelprof show --by span otelprof-profiles
"""

import time

from opentelemetry import trace

tracer = trace.get_tracer("minimal")


def count_primes(limit: int) -> int:
    return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(2, limit))


def main() -> None:
    with tracer.start_as_current_span("numbers"):
        print(count_primes(200_000))
    with tracer.start_as_current_span("nap"):
        time.sleep(0.3)


if __name__ == "__main__":
    main()
