"""Collectors, processors and exporters by name: otelprof's own in one table, those of other packages by entry point.

Entry points are looked at for other names only: that reads a file of every installed package, which takes
longer than all else at the start (docs/decisions/0008).
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from otelprof.errors import OtelprofError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

COLLECTORS = "otelprof.collectors"
PROCESSORS = "otelprof.processors"
EXPORTERS = "otelprof.exporters"

# By group of entry points and name, what an entry point would say: `module:attribute`.
_OWN: Mapping[str, Mapping[str, str]] = {
    COLLECTORS: {
        "cpu": "otelprof.collectors.stack:stack_collector",
        "wall": "otelprof.collectors.stack:stack_collector",
    },
    PROCESSORS: {
        "enrich": "otelprof.processors.enrich:from_config",
        "filter": "otelprof.processors.filter:from_config",
        "redact": "otelprof.processors.redact:from_config",
    },
    EXPORTERS: {
        "file": "otelprof.exporters.file:from_config",
        "http": "otelprof.exporters.http:from_config",
        "local": "otelprof.exporters.local:from_config",
        "otlp": "otelprof.exporters.otlp:from_config",
        "pyroscope": "otelprof.exporters.pyroscope:from_config",
    },
}


def load(group: str, name: str, error: Callable[[str], OtelprofError]) -> Any:  # noqa: ANN401 - what it is, its group says
    """What is called `name` in `group`. A name of otelprof's own is nobody else's.

    Raises:
        what `error` makes of a message: there is none, or it cannot be loaded.
    """
    own = _OWN[group]
    others: Mapping[str, EntryPoint] = {}
    try:
        if name in own:
            module, _, attribute = own[name].partition(":")
            return getattr(import_module(module), attribute)
        others = _entry_points(group)
        if name in others:
            return others[name].load()
    except Exception as cause:  # other people's modules and metadata may raise anything
        reason = f"{type(cause).__name__}: {cause}"
        raise error(f"{group}: {name!r} cannot be loaded: {reason}") from cause
    known = ", ".join(sorted({*own, *others}))
    raise error(f"{group}: there is no {name!r}, only {known}")


def is_own(group: str, name: str) -> bool:
    """Whether `load` loads otelprof's own."""
    return name in _OWN[group]


def _entry_points(group: str) -> "dict[str, EntryPoint]":
    """By name; of several the first that is found."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - 30 ms, for names of others only

    found: dict[str, EntryPoint] = {}
    for each in entry_points(group=group):
        found.setdefault(each.name, each)
    return found
