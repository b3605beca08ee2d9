"""What Pyroscope knows a profile by: its name, the labels of its series, and the labels of its samples.

Every distinct set of labels of a series is a series of its own, so both come from allow-lists. A sample's `span_id` and
`trace_id` are no such labels: Pyroscope keeps them beside the sample (grafana/pyroscope, pkg/pprof/pprof.go).
"""

import re
from collections.abc import Sequence

from otelprof.builder import ProfileBuilder
from otelprof.model import AttributeValue, Link, Profile

# By kind; another's name is its own. With them and the value types of docs/formats.md the profiles are those that Grafana
# looks for: `process_cpu:cpu:nanoseconds:cpu:nanoseconds`, `memory:inuse_space:bytes:space:bytes`, …
NAMES = {
    "cpu": "process_cpu",
    "heap": "memory",
    "alloc": "memory",
    "lock": "mutex",
}
# Limits of grafana/pyroscope, pkg/validation/limits.go; of its 30 labels, some are its own and some are samples'.
MAX_LABELS = 20
MAX_VALUE_BYTES = 2_048
MAX_SAMPLE_VALUES = 100  # of a label of samples, in the life of an exporter
OTHER_VALUE = "other"  # of samples whose value came after those


def series_labels(profile: Profile, allowed: Sequence[str]) -> dict[str, str]:
    """The labels of the series that `profile` belongs to."""
    resource = dict(profile.resource)
    labels = {
        "__name__": _name(NAMES.get(profile.kind, profile.kind)),
        # Our profiles are what came since the last; Pyroscope must not subtract that once more.
        "__delta__": "false",
        "service_name": _value(resource.get("service.name", "")) or "unknown_service",
    }
    for key in allowed:
        value = _value(resource.get(key, ""))
        if value and len(labels) < MAX_LABELS:
            labels.setdefault(_name(key), value)
    return labels


class SampleLabels:
    """Brings samples into the form that Pyroscope takes them in.

    Args:
        allowed: keys of sample labels that stay; their values are counted.
        root_spans: samples are those of the local root of their span, not of the span.
    """

    def __init__(self, allowed: Sequence[str], *, root_spans: bool) -> None:
        self._values: dict[str, set[str]] = {key: set() for key in allowed}
        self._root_spans = root_spans

    def applied(self, profile: Profile) -> Profile:
        """`profile` without the labels that are not allowed; rows that are equal then are one."""
        tables = profile.tables
        builder = ProfileBuilder(profile.value_types)
        frames = [0]
        for line in tables.frames[1:]:
            function = tables.functions[line.function]
            name, filename = tables.strings[function.name], tables.strings[function.filename]
            frames.append(
                builder.frame(name, filename, function.start_line, line.line, line.column)
            )
        stacks = [builder.stack(frames[row] for row in stack) for stack in tables.stacks]
        links = [builder.link(self._link(link)) for link in tables.links]
        label_sets = [
            builder.label_set(self._kept(tables.labels_of(row)))
            for row in range(len(tables.label_sets))
        ]
        rows = zip(
            profile.stack,
            profile.link,
            profile.labels,
            zip(*profile.values, strict=True),
            strict=True,
        )
        for stack, link, labels, values in rows:
            builder.add(stacks[stack], links[link], label_sets[labels], values)
        return builder.in_place_of(profile)

    def _link(self, link: Link) -> Link:
        root = link.local_root_span_id if self._root_spans else b""
        return Link(link.trace_id, root or link.span_id)

    def _kept(self, labels: dict[str, str]) -> dict[str, str]:
        return {
            _name(key): self._counted(key, _value(value))
            for key, value in labels.items()
            if key in self._values and value
        }

    def _counted(self, key: str, value: str) -> str:
        values = self._values[key]
        if value not in values and len(values) >= MAX_SAMPLE_VALUES:
            return OTHER_VALUE
        values.add(value)
        return value


def _name(text: str) -> str:
    """`text` as the name of a label: `service.version` is `service_version`, as Grafana asks for it."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", text)
    return name if re.match(r"[A-Za-z_]", name) else f"_{name}"


def _value(value: AttributeValue) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    return text.encode("utf-8", "backslashreplace")[:MAX_VALUE_BYTES].decode(errors="ignore")
