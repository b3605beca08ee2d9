"""speedscope's own format: one file with a profile for each value, the first kind's weight in front.

    {"$schema":…,"shared":{"frames":[{"name":…,"file":…,"line":…}]},
     "profiles":[{"type":"sampled","name":"cpu","unit":"nanoseconds","samples":[[0,1]],"weights":[31000000],…}]}

A frame is a function, with the line on which it begins, or with `lines` a place in one. There is no place for spans and
labels. Samples have no time of their own: speedscope's "Time Order" is the order of the stacks.

Source: speedscope 1.25, src/lib/file-format-spec.ts.
"""

import json
from collections.abc import Sequence
from typing import Any

from otelprof.formats.canonical import canonical
from otelprof.formats.text import encodable, name_shown
from otelprof.formats.values import Value, added_up, values_of
from otelprof.model import Profile, Tables

_SCHEMA = "https://www.speedscope.app/file-format-schema.json"
_UNITS = ("nanoseconds", "microseconds", "milliseconds", "seconds", "bytes")


def encode(profiles: Sequence[Profile], *, lines: bool = False) -> bytes:
    """One file with all values of `profiles`. Equal meaning gives equal bytes.

    Args:
        profiles: valid ones; those of a kind are added up.
        lines: a frame for each line and column, else for each function.

    Raises:
        FormatError: there is no profile.
    """
    parts = [canonical(profile) for profile in added_up("speedscope", profiles)]
    frames = _Frames(lines=lines)
    first = parts[0]
    file = {
        "$schema": _SCHEMA,
        "exporter": f"otelprof@{encodable(first.producer.version)}".rstrip("@"),
        "name": encodable(str(dict(first.resource).get("service.name") or "otelprof")),
        "activeProfileIndex": 0,
        "profiles": [_profile(value, frames) for value in values_of(parts)],
        "shared": {"frames": frames.rows},
    }
    return json.dumps(file, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _profile(value: Value, frames: "_Frames") -> dict[str, Any]:
    tables = value.profile.tables
    rows = [frames.row(tables, frame) for frame in range(1, len(tables.frames))]
    sums: dict[tuple[int, ...], int] = {}
    for stack, number in zip(value.profile.stack, value.numbers, strict=True):
        if number:
            # Rows that differ only in what has no place here are one sample.
            shown = tuple(rows[frame - 1] for frame in reversed(tables.stacks[stack]))
            sums[shown] = sums.get(shown, 0) + number
    samples = sorted(sums)
    return {
        "type": "sampled",
        "name": encodable(value.name),
        "unit": value.type.unit if value.type.unit in _UNITS else "none",
        "startValue": 0,
        "endValue": sum(sums.values()),
        "samples": samples,
        "weights": [sums[stack] for stack in samples],
    }


class _Frames:
    """The frames that all profiles of a file share, each once."""

    def __init__(self, *, lines: bool) -> None:
        self.rows: list[dict[str, Any]] = []
        self._lines = lines
        self._index: dict[tuple[str, str, int, int], int] = {}

    def row(self, tables: Tables, frame: int) -> int:
        """The number of a frame of `tables`."""
        function = tables.function_of(frame)
        _, line, column = tables.frames[frame]
        if not self._lines:
            line, column = function.start_line, 0
        key = (name_shown(tables, frame), tables.strings[function.filename], line, column)
        row = self._index.get(key)
        if row is None:
            row = self._index[key] = len(self.rows)
            named = zip(("name", "file", "line", "col"), key, strict=True)
            self.rows.append({name: part for name, part in named if part or name == "name"})
        return row
