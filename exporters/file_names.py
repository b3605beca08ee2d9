"""How files in a directory are called, and which of them may be removed: those that are called so, and no others."""

import os
import re
from datetime import UTC, datetime

from otelprof.exporter_settings import FileSettings
from otelprof.model import AttributeValue, Batch

SUFFIX = ".pb.gz"
_MAX_WORD = 80  # characters of a service or a host; a file's name may have 255 bytes

# By field of `FileSettings.name`, what stands in its place.
_FIELDS = {
    "service": r"[A-Za-z0-9_-]+",
    "pid": r"\d+",
    "begin": r"\d{8}T\d{9}Z",
    "host": r"[A-Za-z0-9_-]+",
}


def name_of(batch: Batch, settings: FileSettings) -> str:
    """The name of the files of `batch`, without suffix."""
    resource = dict(batch.resource)
    begin = datetime.fromtimestamp(min(p.start_unix_ns for p in batch.profiles) / 1e9, UTC)
    words = {
        "service": _word(resource.get("service.name") or "unknown_service"),
        "pid": str(resource.get("process.pid", os.getpid())),
        "begin": f"{begin:%Y%m%dT%H%M%S}{begin.microsecond // 1000:03d}Z",
        "host": _word(resource.get("host.name") or os.uname().nodename),
    }
    return re.sub(r"\{(\w+)\}", lambda match: words[match[1]], settings.name)


def pattern_of(settings: FileSettings) -> re.Pattern[str]:
    """What matches the profiles that are called as `settings` say, also those with a number of their own behind."""
    parts = re.split(r"\{(\w+)\}", settings.name)
    literal = map(re.escape, parts[::2])
    fields = (*(_FIELDS[name] for name in parts[1::2]), "")
    name = "".join(text + field for text, field in zip(literal, fields, strict=True))
    return re.compile(rf"{name}(?:-\d+)?{re.escape(SUFFIX)}", re.ASCII)


def _word(value: AttributeValue) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", str(value))[:_MAX_WORD]
