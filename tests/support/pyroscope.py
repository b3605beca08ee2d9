"""A stand-in for Grafana Pyroscope: takes pushes by its rules, and can be asked what is in it.

The rules and limits are those of grafana/pyroscope, pkg/distributor, pkg/validation (limits.go, validate.go) and
pkg/pprof, as far as a client can break them. Read with `tests.support.wire`, not with code of ours.
"""

import gzip
import json
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.servers import Arrived, Reply
from tests.support.wire import Message

PATH = "/push.v1.PusherService/Push"
BURST_BYTES = 2 * 1024 * 1024  # a token bucket: what is larger never passes
MAX_PROFILE_BYTES = 4 * 1024 * 1024
MAX_SAMPLES = 16_000
MAX_LABELS, MAX_NAME_BYTES, MAX_VALUE_BYTES = 30, 1_024, 2_048
MAX_SAMPLE_LABELS = 100
NS_PER_S = 1_000_000_000
OLDEST_S, NEWEST_S = 3_600, 600
NOT_SERIES = {"span_id", "trace_id", "profile_id"}
STATUS = {"unauthenticated": 401, "resource_exhausted": 429, "unimplemented": 404, "unknown": 500}


class RejectedError(Exception):
    """A push that Pyroscope refuses. Arguments: code of Connect, words."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One value of one sample, as it is kept.

    Attributes:
        type_name: `process_cpu:cpu:nanoseconds:cpu:nanoseconds`, as Grafana asks for it.
        labels: of the series.
        stack: the names of the functions, leaf first.
        ids: `span_id` and `trace_id`, where the sample has them.
        at_unix_ns: the start of its profile.
    """

    type_name: str
    labels: frozenset[tuple[str, str]]
    stack: tuple[str, ...]
    value: int
    ids: dict[str, str]
    at_unix_ns: int


class Pyroscope:
    """What was pushed. `now_unix_ns` decides which profiles are too old.

    Attributes:
        sums: values by type of profile, as Grafana asks for it.
        spans: the same by type and span id.
        traces: the same by type and trace id.
        series: the distinct sets of labels.
        ids: of the profiles, in the order in which they came.
        sizes_bytes: of the profiles, not compressed.
        stored: every sample, to be asked for.
    """

    def __init__(self, now_unix_ns: int, *, wants_tenant: bool = False) -> None:
        self.now_unix_ns = now_unix_ns
        self.wants_tenant = wants_tenant
        self.sums: Counter[str] = Counter()
        self.spans: Counter[tuple[str, str]] = Counter()
        self.traces: Counter[tuple[str, str]] = Counter()
        self.series: set[frozenset[tuple[str, str]]] = set()
        self.ids: list[str] = []
        self.sizes_bytes: list[int] = []
        self.stored: list[Stored] = []

    def answer(self, request: Arrived) -> Reply:
        """Take a push, or say what is wrong with it."""
        try:
            self._push(request)
        except RejectedError as error:
            code, text = error.args
            body = json.dumps({"code": code, "message": text}).encode()
            return Reply(STATUS.get(code, 400), body=body)
        return Reply(body=b"")

    def _push(self, request: Arrived) -> None:
        if request.path != PATH:
            raise RejectedError("unimplemented", request.path)
        if request.headers.get("content-type") != "application/proto":
            raise RejectedError("invalid_argument", f"{request.headers.get('content-type')}")
        if self.wants_tenant and not request.headers.get("x-scope-orgid"):
            raise RejectedError("unauthenticated", "no org id")
        pushed = list(_profiles(Message(request.body)))
        if not pushed:
            raise RejectedError("invalid_argument", "no profiles received")
        for labels, raw, sample_id in pushed:
            require(bool(re.fullmatch(r"[0-9a-f-]{36}", str(uuid.UUID(sample_id)))), "no UUID")
            self._add(labels, raw)
            self.ids.append(sample_id)

    def _add(self, labels: list[tuple[str, str]], raw: bytes) -> None:
        plain = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        size_bytes = len(plain) + sum(len(name) + len(value) for name, value in labels)
        if size_bytes > BURST_BYTES:
            raise RejectedError("resource_exhausted", f"burst of {BURST_BYTES}, got {size_bytes}")
        require(len(plain) <= MAX_PROFILE_BYTES, "profile_size_limit")
        profile = _Pprof(Message(plain))
        profile.check(self.now_unix_ns)
        names = dict(labels)
        for stack, promoted, values, ids in profile.samples():
            together = {**promoted, **names}
            check_labels(labels, len(together))
            for (kind, unit), value in zip(profile.types, values, strict=True):
                name = f"{names['__name__']}:{kind}:{unit}:{profile.period}"
                series = frozenset(together.items())
                self.keep(Stored(name, series, stack, value, ids, profile.start_unix_ns))
        self.sizes_bytes.append(len(plain))

    def keep(self, sample: Stored) -> None:
        """Add a sample that is as it should be."""
        self.stored.append(sample)
        self.series.add(sample.labels)
        self.sums[sample.type_name] += sample.value
        if "span_id" in sample.ids:
            self.spans[sample.type_name, sample.ids["span_id"]] += sample.value
            self.traces[sample.type_name, sample.ids["trace_id"]] += sample.value


class _Pprof:
    """A pprof profile, field by field (google/pprof, proto/profile.proto)."""

    def __init__(self, message: Message) -> None:
        self._message = message
        try:
            self._strings = message.texts(6)
        except UnicodeDecodeError as error:
            raise RejectedError("invalid_argument", f"malformed_profile: {error}") from error
        self._samples = message.messages(2)
        self.types = [self._type(each) for each in message.messages(1)]
        self.period = ":".join(self._type(message.message(11)))
        self.start_unix_ns = message.number(9)
        names = {each.number(1): self._strings[each.number(2)] for each in message.messages(5)}
        self._functions = {
            each.number(1): [names.get(line.number(1), "") for line in each.messages(4)]
            for each in message.messages(4)
        }

    def _type(self, message: Message) -> tuple[str, str]:
        return self._strings[message.number(1)], self._strings[message.number(2)]

    def check(self, now_unix_ns: int) -> None:
        """What Pyroscope checks before it takes a profile."""
        message = self._message
        require(self._strings[0] == "", "string 0 should be empty string")
        require(len(set(self._strings)) == len(self._strings), "a string twice hides span_id")
        require(not any("-" in kind for kind, _ in self.types), "sample type contains -")
        require(len(self._samples) <= MAX_SAMPLES, "samples_limit")
        check_age(self.start_unix_ns, now_unix_ns)
        functions = {each.number(1) for each in message.messages(5)}
        locations = {each.number(1) for each in message.messages(4)}
        require(0 not in functions | locations, "an id is 0")
        for location in message.messages(4):
            lines = {line.number(1) for line in location.messages(4)}
            require(bool(lines) and lines <= functions, "a location without function")
        for sample in self._samples:
            require(len(sample.numbers(2)) == len(self.types), "value count")
            require(set(sample.numbers(1)) <= locations, "a sample without location")
            require(len(sample.messages(3)) <= MAX_SAMPLE_LABELS, "sample_labels_limit")

    def samples(
        self,
    ) -> Iterator[tuple[tuple[str, ...], dict[str, str], list[int], dict[str, str]]]:
        """Of each sample: functions, labels that become the series', values, and ids."""
        for sample in self._samples:
            labels = {
                self._strings[each.number(1)]: self._strings[each.number(2)]
                for each in sample.messages(3)
            }
            ids = {name: labels.pop(name) for name in NOT_SERIES & labels.keys()}
            require(re.fullmatch("[0-9a-f]{16}", ids.get("span_id", "0" * 16)) is not None, "id")
            require(re.fullmatch("[0-9a-f]{32}", ids.get("trace_id", "0" * 32)) is not None, "id")
            stack = [name for row in sample.numbers(1) for name in self._functions[row]]
            yield tuple(stack), labels, sample.numbers(2), ids


def _profiles(request: Message) -> Iterator[tuple[list[tuple[str, str]], bytes, str]]:
    """Labels, pprof and id of each profile (api/push/v1/push.proto, api/types/v1/types.proto)."""
    for series in request.messages(1):
        labels = [(pair.texts(1)[0], pair.texts(2)[0]) for pair in series.messages(1)]
        for sample in series.messages(2):
            yield labels, sample.blob(1), sample.texts(2)[0]


def check_age(start_unix_ns: int, now_unix_ns: int) -> None:
    """Profiles of another day are refused."""
    age_s = (now_unix_ns - start_unix_ns) / NS_PER_S
    require(-NEWEST_S <= age_s <= OLDEST_S, "not_in_ingestion_window")


def check_labels(labels: list[tuple[str, str]], count: int, *, dots: bool = False) -> None:
    """The rules for the labels of a series; `count` is with those that its samples have.

    Over OTLP names keep their `dots`; the names that a client chooses for a push need none.
    """
    names = dict(labels)
    pattern = "[a-zA-Z_][a-zA-Z0-9_.]*" if dots else "[a-zA-Z_][a-zA-Z0-9_]*"
    require(len(names) == len(labels), "duplicate_label_names")
    require(re.fullmatch("[a-zA-Z_:][a-zA-Z0-9_:]*", names["__name__"]) is not None, "name")
    require(bool(names.get("service_name")), "missing_labels")
    require(count <= MAX_LABELS, "max_label_names_per_series")
    for name, value in labels:
        require(re.fullmatch(pattern, name) is not None, f"name {name}")
        require(len(name.encode()) <= MAX_NAME_BYTES, "label_name_too_long")
        require(len(value.encode()) <= MAX_VALUE_BYTES, "label_value_too_long")


def require(holds: bool, text: str) -> None:
    """Refuse a push with `text`, unless `holds`."""
    if not holds:
        raise RejectedError("invalid_argument", text)
