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


class RejectedError(Exception):
    """A push that Pyroscope refuses. Arguments: code of Connect, words."""


class Pyroscope:
    """What was pushed. `now_unix_ns` decides which profiles are too old.

    Attributes:
        sums: values by type of profile, as Grafana asks for it.
        spans: the same by type and span id.
        traces: the same by type and trace id.
        series: the distinct sets of labels.
        ids: of the profiles, in the order in which they came.
        sizes_bytes: of the profiles, not compressed.
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

    def answer(self, request: Arrived) -> Reply:
        """Take a push, or say what is wrong with it."""
        try:
            self._push(request)
        except RejectedError as error:
            code, text = error.args
            status = {"unauthenticated": 401, "resource_exhausted": 429, "unimplemented": 404}
            body = json.dumps({"code": code, "message": text}).encode()
            return Reply(status.get(code, 400), body=body)
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
            _require(bool(re.fullmatch(r"[0-9a-f-]{36}", str(uuid.UUID(sample_id)))), "no UUID")
            self._add(labels, raw)
            self.ids.append(sample_id)

    def _add(self, labels: list[tuple[str, str]], raw: bytes) -> None:
        plain = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        size_bytes = len(plain) + sum(len(name) + len(value) for name, value in labels)
        if size_bytes > BURST_BYTES:
            raise RejectedError("resource_exhausted", f"burst of {BURST_BYTES}, got {size_bytes}")
        _require(len(plain) <= MAX_PROFILE_BYTES, "profile_size_limit")
        profile = _Pprof(Message(plain))
        profile.check(self.now_unix_ns)
        names = dict(labels)
        for promoted, values, ids in profile.samples():
            together = {**promoted, **names}
            _check_labels(labels, len(together))
            self.series.add(frozenset(together.items()))
            for (kind, unit), value in zip(profile.types, values, strict=True):
                name = f"{names['__name__']}:{kind}:{unit}:{profile.period}"
                self.sums[name] += value
                if "span_id" in ids:
                    self.spans[name, ids["span_id"]] += value
                    self.traces[name, ids["trace_id"]] += value
        self.sizes_bytes.append(len(plain))


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

    def _type(self, message: Message) -> tuple[str, str]:
        return self._strings[message.number(1)], self._strings[message.number(2)]

    def check(self, now_unix_ns: int) -> None:
        """What Pyroscope checks before it takes a profile."""
        message = self._message
        _require(self._strings[0] == "", "string 0 should be empty string")
        _require(len(set(self._strings)) == len(self._strings), "a string twice hides span_id")
        _require(not any("-" in kind for kind, _ in self.types), "sample type contains -")
        _require(len(self._samples) <= MAX_SAMPLES, "samples_limit")
        age_s = (now_unix_ns - message.number(9)) / NS_PER_S
        _require(-NEWEST_S <= age_s <= OLDEST_S, "not_in_ingestion_window")
        functions = {each.number(1) for each in message.messages(5)}
        locations = {each.number(1) for each in message.messages(4)}
        _require(0 not in functions | locations, "an id is 0")
        for location in message.messages(4):
            lines = {line.number(1) for line in location.messages(4)}
            _require(bool(lines) and lines <= functions, "a location without function")
        for sample in self._samples:
            _require(len(sample.numbers(2)) == len(self.types), "value count")
            _require(set(sample.numbers(1)) <= locations, "a sample without location")
            _require(len(sample.messages(3)) <= MAX_SAMPLE_LABELS, "sample_labels_limit")

    def samples(self) -> Iterator[tuple[dict[str, str], list[int], dict[str, str]]]:
        """Of each sample: labels that become the series', values, and ids."""
        for sample in self._samples:
            labels = {
                self._strings[each.number(1)]: self._strings[each.number(2)]
                for each in sample.messages(3)
            }
            ids = {name: labels.pop(name) for name in NOT_SERIES & labels.keys()}
            _require(re.fullmatch("[0-9a-f]{16}", ids.get("span_id", "0" * 16)) is not None, "id")
            _require(re.fullmatch("[0-9a-f]{32}", ids.get("trace_id", "0" * 32)) is not None, "id")
            yield labels, sample.numbers(2), ids


def _profiles(request: Message) -> Iterator[tuple[list[tuple[str, str]], bytes, str]]:
    """Labels, pprof and id of each profile (api/push/v1/push.proto, api/types/v1/types.proto)."""
    for series in request.messages(1):
        labels = [(pair.texts(1)[0], pair.texts(2)[0]) for pair in series.messages(1)]
        for sample in series.messages(2):
            yield labels, sample.blob(1), sample.texts(2)[0]


def _check_labels(labels: list[tuple[str, str]], count: int) -> None:
    names = dict(labels)
    _require(len(names) == len(labels), "duplicate_label_names")
    _require(re.fullmatch("[a-zA-Z_:][a-zA-Z0-9_:]*", names["__name__"]) is not None, "name")
    _require(bool(names.get("service_name")), "missing_labels")
    _require(count <= MAX_LABELS, "max_label_names_per_series")
    for name, value in labels:
        _require(re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", name) is not None, f"name {name}")
        _require(len(name.encode()) <= MAX_NAME_BYTES, "label_name_too_long")
        _require(len(value.encode()) <= MAX_VALUE_BYTES, "label_value_too_long")


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise RejectedError("invalid_argument", text)
