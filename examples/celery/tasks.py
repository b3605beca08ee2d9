"""Two tasks for a Celery worker; the broker is a directory. Nothing in it knows of otelprof.

    python tasks.py 20  # sends 20 of each

    otelprof run -- celery --app tasks worker --concurrency 2
    otelprof show --by span latest

    OTELPROF_EXPORTER=file opentelemetry-instrument celery --app tasks worker --concurrency 2
    otelprof show --by span otelprof-profiles

opentelemetry-instrumentation-celery (`opentelemetry-bootstrap -a install` finds it) makes a span of each task.
"""

import sys
import zlib
from pathlib import Path

from celery import Celery

QUEUE = Path("queue")
QUEUE.mkdir(exist_ok=True)

app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {"data_folder_in": str(QUEUE), "data_folder_out": str(QUEUE)}
app.conf.task_ignore_result = True


def count_primes(limit: int) -> int:
    return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(2, limit))


@app.task
def primes(limit: int) -> None:
    count_primes(limit)


@app.task
def compress(size_bytes: int) -> None:
    zlib.compress(bytes(range(256)) * (size_bytes // 256), level=9)


if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        primes.delay(30_000)
        compress.delay(8 << 20)
