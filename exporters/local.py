"""Profiles and spans in a directory of this machine, one for each run, which `otelprof show` and `export` read.

OTLP holds all of a profile. A run's directory is that of `otelprof run`, where it has started this process,
else one of the process's own.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from otelprof.clock import NS_PER_S
from otelprof.config import Config
from otelprof.exporters.file import write_whole
from otelprof.formats import otlp, spans_jsonl
from otelprof.formats.spans_jsonl import spans_path
from otelprof.interfaces import DELIVERED, Exporter, Outcome
from otelprof.model import Batch
from otelprof.storage.owned import OwnedDirectory
from otelprof.storage.retention import Retention
from otelprof.storage.runs import create_run, process_token, profile_name

_log = logging.getLogger("otelprof")


def from_config(config: Config) -> Exporter:
    """What `config.local` and `config.state_dir` say."""
    return LocalExporter(config)


class LocalExporter:
    """Writes a file for each batch."""

    destination = ""

    def __init__(self, config: Config) -> None:
        self._state_dir = config.state_dir
        self._shared = config.local.directory
        self._retention = Retention(config.state_dir, config.local)
        self._begin()

    def _begin(self) -> None:
        self._owned: OwnedDirectory | None = None
        self._token = process_token()
        self._count = 0

    def export(self, batch: Batch, *, timeout_s: float) -> Outcome:
        """Write the profiles, after their spans, so that a reader of a profile finds them."""
        del timeout_s  # a local file: there is nothing to wait for
        content = otlp.encode(batch.profiles, full=True)
        lines = spans_jsonl.encode(batch.spans, batch.resource)
        try:
            path = self._directory(batch) / profile_name(self._token, self._count + 1)
            if lines:
                write_whole(spans_path(path), lines)
            write_whole(path, content)
        except OSError as error:
            return Outcome("retry", f"cannot keep profiles: {error}")
        self._count += 1
        self._retention.note(len(content) + len(lines))
        return DELIVERED

    def _directory(self, batch: Batch) -> Path:
        if self._shared is not None:
            return self._shared
        if self._owned is None:
            service = str(dict(batch.resource).get("service.name") or "unknown_service")
            begin_unix_s = min(p.start_unix_ns for p in batch.profiles) / NS_PER_S
            self._owned = create_run(self._state_dir, service, begin_unix_s=begin_unix_s)
            _log.info("otelprof: profiles are kept in %s", self._owned.path)
        return self._owned.path

    def close(self) -> None:
        """Let the run be removed when it is too old."""
        if self._owned is not None:
            self._owned.release()

    def after_fork(self) -> None:
        """Begin a run of the child's own, or files of its own in the shared one."""
        if self._owned is not None:
            self._owned.forget()
        self._begin()


if TYPE_CHECKING:
    _checked: type[Exporter] = LocalExporter
