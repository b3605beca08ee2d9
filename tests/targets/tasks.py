"""A Celery application whose tasks burn CPU time in a span of their own, with a broker that is a directory.

As a program it sends so many tasks of each kind.
"""

import os
import sys
from pathlib import Path
from typing import Any

from celery import Celery
from opentelemetry import trace

from tests.targets.burning import burn

CPU_S = 0.1  # of a task

app: Any = Celery("tasks", broker="filesystem://")
app.conf.update(
    broker_transport_options={"data_folder_in": "queue", "data_folder_out": "queue"},
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    worker_hijack_root_logger=False,
)
tracer = trace.get_tracer("tasks")


def burn_checkout() -> None:
    burn(CPU_S)


def burn_search() -> None:
    burn(CPU_S)


def _done(name: str) -> None:
    """A line for each, written in one step: many processes do."""
    with Path("done").open("a") as file:
        file.write(f"{os.getpid()} {name}\n")


def _checkout() -> None:
    with tracer.start_as_current_span("checkout"):
        burn_checkout()
    _done("checkout")


def _search() -> None:
    with tracer.start_as_current_span("search"):
        burn_search()
    _done("search")


checkout = app.task(name="checkout")(_checkout)
search = app.task(name="search")(_search)

if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        checkout.delay()
        search.delay()
