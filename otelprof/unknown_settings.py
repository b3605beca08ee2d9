"""Variables that look like settings of ours and are none: most likely misspelt."""

import logging
from collections.abc import Collection, Iterable

_log = logging.getLogger("otelprof")

PREFIX = "OTELPROF_"
_LEAST_LIKENESS = 0.6  # of difflib: `RTAE` is 0.75 of `RATE`

# Each is said once in a process, however many profilers there are in it.
said: set[str] = set()


def say_unknown(names: Iterable[str], known: Collection[str]) -> None:
    """Name those of `names` that begin as ours do and are not in `known`, each with what it may have been meant as."""
    unknown = [name for name in names if name.startswith(PREFIX) and name not in known]
    for name in sorted(set(unknown) - said):
        said.add(name)
        _log.warning("%s is not used: there is no such setting%s", name, _meant(name, known))


def _meant(name: str, known: Collection[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - for those who need it only

    rests = [each.removeprefix(PREFIX) for each in known if each.startswith(PREFIX)]
    near = get_close_matches(name.removeprefix(PREFIX).upper(), rests, 1, _LEAST_LIKENESS)
    return f"; is it {PREFIX}{near[0]}?" if near else ""
