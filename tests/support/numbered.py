"""Profiles that carry a number to where they arrive: the only value that leaves is it."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from otelprof.backoff import Backoff
from otelprof.delivery.limits import Limits
from otelprof.interfaces import Exporter
from otelprof.model import Attributes, Profile
from otelprof.pipeline import Pipeline
from tests.support.pipelines import FakeCollector
from tests.support.profiles import LEAF, ROOT, profile_of, row

NUMBER_BYTES = 8


def numbered(number: int, text_bytes: int = 0) -> Profile:
    """A profile of wall time, of which receivers get `number` as the sum; with so many bytes of text."""
    leaf = LEAF._replace(filename="/" * text_bytes) if text_bytes else LEAF
    return profile_of(row(leaf, ROOT, values=(1, number)), kind="wall")


class NumberedCollector(FakeCollector):
    """Yields a profile at every flush, and writes its number to a file before that.

    So whatever happens to the process later, it is known what it had collected.
    """

    def __init__(self, log: Path, first: int, text_bytes: int = 0) -> None:
        super().__init__()
        self._text_bytes = text_bytes
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._next = first

    def drain(self) -> list[Profile]:
        number, self._next = self._next, self._next + 1
        os.write(self._log, number.to_bytes(NUMBER_BYTES, "big"))
        return [numbered(number, self._text_bytes)]


def read_numbers(log: Path) -> list[int]:
    """The numbers that collectors have written."""
    blob = log.read_bytes()
    return [
        int.from_bytes(blob[at : at + NUMBER_BYTES], "big")
        for at in range(0, len(blob), NUMBER_BYTES)
    ]


def pipeline_of(
    collector: FakeCollector,
    exporters: Mapping[str, Callable[[], Exporter]],
    directory: Path,
    *,
    flush_s: float,
    service: str = "target",
) -> Pipeline:
    """A pipeline on the system's clock whose spool is in `directory`."""
    resource: Attributes = (("service.name", service), ("process.pid", os.getpid()))
    return Pipeline(
        collectors=[collector],
        exporters=exporters,
        take_spans=tuple,
        resource=lambda: resource,
        flush_s=flush_s,
        on_tick=lambda: True,
        limits=Limits(directory, disk_bytes=256 << 20, age_s=86_400.0),
        backoff=Backoff("fixed", 0.05),
    )
