"""A server in the place of Grafana Pyroscope where there is none: its rules for what it takes, and its queries.

Pushes are `tests.support.pyroscope`'s. OTLP follows grafana/pyroscope, pkg/ingester/otlp (convert.go,
ingest_handler.go): the names of types, which attributes become labels, and which errors are 500. Queries follow
api/querier/v1/querier.proto in Connect's JSON, as far as tests ask them.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)
from opentelemetry.proto.profiles.v1development.profiles_pb2 import (
    Profile,
    ProfilesDictionary,
    Sample,
)

from tests.support.pyroscope import (
    BURST_BYTES,
    MAX_SAMPLES,
    STATUS,
    Pyroscope,
    RejectedError,
    Stored,
    check_age,
    check_labels,
    require,
)
from tests.support.servers import Arrived, HttpReceiver, Reply, http_receiver

_OTLP_PATH = "/v1development/profiles"
_OTLP_TYPES = {"application/x-protobuf", "application/protobuf"}
_QUERIES = "/querier.v1.QuerierService/"

Json = dict[str, Any]


class StandIn(Pyroscope):
    """Takes pushes and OTLP as Pyroscope does, and answers queries about them."""

    def __init__(self) -> None:
        super().__init__(time.time_ns())

    def answer(self, request: Arrived) -> Reply:
        """The answer to any request."""
        self.now_unix_ns = time.time_ns()
        if request.path == "/ready":
            return Reply(body=b"ready")
        if request.path == _OTLP_PATH:
            return self._answer_otlp(request)
        if request.path.startswith(_QUERIES):
            return self._answer_query(request.path.removeprefix(_QUERIES), request.body)
        return super().answer(request)

    def _answer_otlp(self, request: Arrived) -> Reply:
        # Compared as a whole: a content type with a charset is another one.
        if request.headers.get("content-type") not in _OTLP_TYPES:
            return Reply(415)
        try:
            samples = list(self._converted(request.message))
        except RejectedError as error:
            code, text = error.args
            return Reply(STATUS.get(code, 400), body=str(text).encode())
        for sample in samples:
            self.keep(sample)
        return Reply()

    def _converted(self, message: ExportProfilesServiceRequest) -> Iterator[Stored]:
        for of_resource in message.resource_profiles:
            attributes = [(each.key, _text(each.value)) for each in of_resource.resource.attributes]
            for of_scope in of_resource.scope_profiles:
                scope = [(each.key, _text(each.value)) for each in of_scope.scope.attributes]
                labels = [(key, text) for key, text in attributes + scope if text is not None]
                for profile in of_scope.profiles:
                    yield from self._of_profile(profile, message.dictionary, labels)

    def _of_profile(
        self, profile: Profile, dictionary: ProfilesDictionary, labels: list[tuple[str, str]]
    ) -> Iterator[Stored]:
        name, type_name, factor = _named(profile, dictionary)
        labels = [("__delta__", "false"), ("__otel__", "true"), ("__name__", name), *labels]
        service = dict(labels).get("service.name", "unknown_service")
        labels.append(("service_name", service))
        check_age(profile.time_unix_nano or self.now_unix_ns, self.now_unix_ns)
        require(len(profile.samples) <= MAX_SAMPLES, "samples_limit")
        if profile.ByteSize() > BURST_BYTES:
            raise RejectedError("resource_exhausted", "burst")
        for sample in profile.samples:
            if len(sample.values) != 1:
                raise RejectedError("unknown", "sample values length mismatch")
            promoted = _attributes(sample, dictionary)
            together = {**promoted, **dict(labels)}
            check_labels(labels, len(together), dots=True)
            yield Stored(
                type_name,
                frozenset(together.items()),
                tuple(_functions(sample, dictionary)),
                sample.values[0] * factor,
                _ids(sample, dictionary),
                profile.time_unix_nano or self.now_unix_ns,
            )

    def _answer_query(self, query: str, body: bytes) -> Reply:
        question: Json = json.loads(body)
        answers: dict[str, Callable[[Json], Json]] = {
            "SelectMergeStacktraces": self._flamegraph,
            "SelectMergeSpanProfile": self._flamegraph,
            "ProfileTypes": self._types,
            "LabelNames": lambda asked: {"names": sorted({n for n, _ in self._labels(asked)})},
            "LabelValues": lambda asked: {
                "names": sorted({v for n, v in self._labels(asked) if n == asked["name"]})
            },
        }
        if query not in answers:
            return Reply(404, body=b'{"code":"unimplemented"}')
        return Reply(body=json.dumps(answers[query](question)).encode())

    def _between(self, question: Json) -> Iterator[Stored]:
        start_ns, end_ns = (int(question[name]) * 1_000_000 for name in ("start", "end"))
        return (each for each in self.stored if start_ns <= each.at_unix_ns <= end_ns)

    def _labels(self, question: Json) -> Iterator[tuple[str, str]]:
        return (label for each in self._between(question) for label in each.labels)

    def _types(self, question: Json) -> Json:
        ids = sorted({each.type_name for each in self._between(question)})
        return {"profileTypes": [{"ID": each, "name": each.partition(":")[0]} for each in ids]}

    def _flamegraph(self, question: Json) -> Json:
        wanted = set(re.findall(r'([\w.]+)"?="([^"]*)"', question["labelSelector"]))
        spans = set(question.get("spanSelector", []))
        traces = set(question.get("traceIdSelector", []))
        stacks: Counter[tuple[str, ...]] = Counter()
        for each in self._between(question):
            if (
                each.type_name == question["profileTypeID"]
                and wanted <= each.labels
                and (not spans or each.ids.get("span_id") in spans)
                and (not traces or each.ids.get("trace_id") in traces)
            ):
                stacks[each.stack[::-1]] += each.value
        return {"flamegraph": _levels(stacks)} if stacks else {}


def _levels(stacks: Counter[tuple[str, ...]]) -> Json:
    """Levels of nodes, each with distance from the one before it, total, self and name; stacks are root first."""
    names = ["total", *sorted({name for stack in stacks for name in stack})]
    row = {name: at for at, name in enumerate(names)}
    total = stacks.total()
    levels = [[0, total, stacks.get((), 0), 0]]
    for depth in range(1, max(map(len, stacks), default=0) + 1):
        nodes: dict[tuple[str, ...], list[int]] = {}
        at = 0  # the left edge of a stack, in the order of names
        for stack, value in sorted(stacks.items()):
            if len(stack) >= depth:
                node = nodes.setdefault(stack[:depth], [at, 0, 0])
                node[1] += value
                node[2] += value if len(stack) == depth else 0
            at += value
        level: list[int] = []
        end = 0
        for path, (left, width, own) in nodes.items():
            level += [left - end, width, own, row[path[-1]]]
            end = left + width
        levels.append(level)
    texts = [{"values": [str(value) for value in level]} for level in levels]
    return {"names": names, "levels": texts, "total": str(total)}


def _named(profile: Profile, dictionary: ProfilesDictionary) -> tuple[str, str, int]:
    """The name and the type that a profile is stored under, and what its values are multiplied by."""
    strings = dictionary.string_table
    kind, unit, period_kind, period_unit = (
        strings[row]
        for each in (profile.sample_type, profile.period_type)
        for row in (each.type_strindex, each.unit_strindex)
    )
    require(bool(profile.period) and bool(period_kind), "invalid metric name")
    period = f"{period_kind}:{period_unit}"
    if (kind, unit, period) == ("samples", "count", "cpu:nanoseconds"):
        return "process_cpu", f"process_cpu:cpu:nanoseconds:{period}", profile.period
    require("-" not in kind, "sample type contains -")
    return period_kind, f"{period_kind}:{kind}:{unit}:{period}", 1


def _text(value: Any) -> str | None:
    """A value as a label: text and whole numbers are, whatever else is not there."""
    which = value.WhichOneof("value")
    return str(getattr(value, which)) if which in {"string_value", "int_value"} else None


def _attributes(sample: Sample, dictionary: ProfilesDictionary) -> dict[str, str]:
    rows = (dictionary.attribute_table[row] for row in sample.attribute_indices)
    named = ((dictionary.string_table[row.key_strindex], _text(row.value)) for row in rows)
    return {name: text for name, text in named if text is not None}


def _functions(sample: Sample, dictionary: ProfilesDictionary) -> Iterable[str]:
    for row in dictionary.stack_table[sample.stack_index].location_indices:
        location = dictionary.location_table[row]
        if location.mapping_index >= len(dictionary.mapping_table):
            raise RejectedError("unknown", "failed to convert otel profile: no mapping")
        for line in location.lines:
            yield dictionary.string_table[
                dictionary.function_table[line.function_index].name_strindex
            ]


def _ids(sample: Sample, dictionary: ProfilesDictionary) -> dict[str, str]:
    if not sample.link_index:
        return {}
    link = dictionary.link_table[sample.link_index]
    return {"span_id": link.span_id.hex(), "trace_id": link.trace_id.hex()}


@contextmanager
def stand_in() -> Iterator[HttpReceiver]:
    """The stand-in on loopback."""
    with http_receiver(then=StandIn().answer) as receiver:
        yield receiver
