"""JSON for programs of one's own, with a version and a schema (docs/profiles.schema.json).

    {"format":"otelprof.profiles","version":1,"profiles":[{"kind":"cpu",…,
     "functions":[{"name":…,"filename":…,"start_line":…}],"frames":[{"function":0,"line":7,"column":12}],
     "stacks":[[0,1]],"links":[{"trace_id":…,"span_id":…}],
     "samples":[{"stack":0,"link":0,"labels":{"thread_name":…},"values":[3,31000000]}]}]}

It holds all of a profile. Indices count from 0 and stacks are leaf first; what is not there is left out. Within a version,
members are only added.
"""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from otelprof.formats.canonical import canonical
from otelprof.formats.text import encodable
from otelprof.model import AttributeValue, Profile, Tables, ValueType

FORMAT = "otelprof.profiles"
VERSION = 1

_NON_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}  # as protobuf's JSON has them


def encode(profiles: Sequence[Profile]) -> bytes:
    """All `profiles`, each as it is, in their order. Equal meaning gives equal bytes."""
    file = {
        "format": FORMAT,
        "version": VERSION,
        "profiles": [_profile(canonical(profile)) for profile in profiles],
    }
    return json.dumps(file, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _profile(profile: Profile) -> dict[str, Any]:
    tables = profile.tables
    return {
        "kind": encodable(profile.kind),
        **({"profile_id": profile.profile_id.hex()} if profile.profile_id else {}),
        "start_unix_ns": profile.start_unix_ns,
        "duration_ns": profile.duration_ns,
        "period": {**_value_type(profile.period_type), "value": profile.period},
        "value_types": [_value_type(value_type) for value_type in profile.value_types],
        "resource": {encodable(key): _attribute(value) for key, value in profile.resource},
        "producer": {k: encodable(v) for k, v in profile.producer._asdict().items() if v},
        "losses": {encodable(reason): count for reason, count in profile.losses},
        "functions": [
            {
                "name": tables.strings[function.name],
                "filename": tables.strings[function.filename],
                "start_line": function.start_line,
            }
            for function in tables.functions[1:]
        ],
        "frames": [
            {"function": function - 1, "line": line, "column": column}
            for function, line, column in tables.frames[1:]
        ],
        "stacks": [[frame - 1 for frame in stack] for stack in tables.stacks[1:]],
        "links": [
            {name: part.hex() for name, part in link._asdict().items() if part}
            for link in tables.links[1:]
        ],
        "samples": list(_samples(profile, tables)),
    }


def _samples(profile: Profile, tables: Tables) -> Iterator[dict[str, Any]]:
    labels = [tables.labels_of(row) for row in range(len(tables.label_sets))]
    for row, values in enumerate(zip(*profile.values, strict=True)):
        sample: dict[str, Any] = {"stack": profile.stack[row] - 1}
        if profile.link[row]:
            sample["link"] = profile.link[row] - 1
        if profile.labels[row]:
            sample["labels"] = labels[profile.labels[row]]
        sample["values"] = values
        yield sample


def _value_type(value_type: ValueType) -> dict[str, str]:
    return {name: encodable(text) for name, text in value_type._asdict().items()}


def _attribute(value: AttributeValue) -> Any:  # noqa: ANN401 - what JSON has
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, tuple):
        return [encodable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return _NON_FINITE[str(value)]
    return value
