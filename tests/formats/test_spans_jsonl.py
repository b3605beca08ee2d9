import json
from typing import Any

import pytest

from otelprof.errors import FormatError
from otelprof.formats import spans_jsonl
from otelprof.model import Attributes, SpanRecord
from tests.support.damage import Trial, mutants
from tests.support.golden import Golden
from tests.support.profiles import ROOT_SPAN_ID, SPAN_ID, START_UNIX_NS, TRACE_ID, cpu_and_wall

REQUEST = SpanRecord(
    trace_id=TRACE_ID,
    span_id=ROOT_SPAN_ID,
    parent_span_id=b"",
    local_root_span_id=ROOT_SPAN_ID,
    name="GET /orders/{id}",
    kind=2,
    route="/orders/{id}",
    status=2,
    start_unix_ns=START_UNIX_NS,
    end_unix_ns=START_UNIX_NS + 2_500_000,
    thread="MainThread",
)
QUERY = SpanRecord(
    trace_id=TRACE_ID,
    span_id=SPAN_ID,
    parent_span_id=ROOT_SPAN_ID,
    local_root_span_id=ROOT_SPAN_ID,
    name="SELECT größe \U0001f525",
    kind=3,
    route="",
    status=0,
    start_unix_ns=START_UNIX_NS + 1,
    end_unix_ns=START_UNIX_NS + 2_000_000,
    thread="",
)
RESOURCE = cpu_and_wall()[0].resource
LINE = spans_jsonl.encode([REQUEST, QUERY], RESOURCE)


def first_span(blob: bytes) -> dict[str, Any]:
    span: dict[str, Any] = json.loads(blob)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    return span


class TestBytes:
    def test_one_line_with_all_spans(self, golden: Golden) -> None:
        golden.check("two_spans.spans.jsonl", LINE)
        assert LINE.count(b"\n") == 1
        assert LINE.endswith(b"\n")

    def test_no_span_is_no_line(self) -> None:
        assert spans_jsonl.encode([], RESOURCE) == b""

    def test_ids_are_hex_and_times_are_text_as_in_otlp_json(self) -> None:
        span = first_span(LINE)
        assert span["traceId"] == TRACE_ID.hex()
        assert span["spanId"] == ROOT_SPAN_ID.hex()
        assert span["startTimeUnixNano"] == "1700000000000000000"
        assert span["endTimeUnixNano"] == "1700000000002500000"

    def test_a_root_names_no_parent(self) -> None:
        assert "parentSpanId" not in first_span(LINE)
        assert first_span(spans_jsonl.encode([QUERY]))["parentSpanId"] == ROOT_SPAN_ID.hex()

    def test_resource_attributes_keep_their_types(self) -> None:
        resource = json.loads(LINE)["resourceSpans"][0]["resource"]
        assert resource["attributes"] == [
            {"key": "service.name", "value": {"stringValue": "shop"}},
            {"key": "process.pid", "value": {"intValue": "4711"}},
            {"key": "shop.ratio", "value": {"doubleValue": 0.25}},
            {"key": "shop.canary", "value": {"boolValue": True}},
            {
                "key": "process.command_args",
                "value": {
                    "arrayValue": {"values": [{"stringValue": "python"}, {"stringValue": "app.py"}]}
                },
            },
        ]

    def test_a_name_with_line_ends_stays_on_one_line(self) -> None:
        blob = spans_jsonl.encode([QUERY._replace(name="a\nb\rc\u2028d\x85e")])
        assert blob.splitlines() == [blob.rstrip(b"\n")]
        assert spans_jsonl.decode(blob)[0].name == "a\nb\rc\u2028d\x85e"

    def test_a_name_that_is_no_unicode_does_not_stop_the_flush(self) -> None:
        blob = spans_jsonl.encode([QUERY._replace(name="GET /\udcff")])
        assert spans_jsonl.decode(blob)[0].span_id == QUERY.span_id

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
    def test_a_float_that_json_lacks_is_still_json(self, value: float) -> None:
        resource: Attributes = (("shop.ratio", value),)
        blob = spans_jsonl.encode([QUERY], resource)
        json.loads(blob, parse_constant=pytest.fail)


class TestDecodedAgain:
    def test_a_line_is_the_spans_it_was_made_of(self) -> None:
        assert spans_jsonl.decode(LINE) == [REQUEST, QUERY]

    def test_lines_follow_one_another(self) -> None:
        blob = spans_jsonl.encode([QUERY]) + spans_jsonl.encode([REQUEST], RESOURCE) + LINE
        assert spans_jsonl.decode(blob) == [QUERY, REQUEST, REQUEST, QUERY]

    @pytest.mark.parametrize("blob", [b"", b"\n", b" \r\n\n"])
    def test_nothing_is_no_span(self, blob: bytes) -> None:
        assert spans_jsonl.decode(blob) == []

    def test_empty_lines_are_passed_over(self) -> None:
        assert spans_jsonl.decode(b"\n" + LINE + b"\n\n" + LINE.rstrip()) == [REQUEST, QUERY] * 2

    def test_a_span_that_names_no_local_root_is_its_own(self) -> None:
        request = json.loads(spans_jsonl.encode([QUERY]))
        del request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"]
        (span,) = spans_jsonl.decode(json.dumps(request).encode())
        assert span.local_root_span_id == span.span_id == SPAN_ID
        assert (span.route, span.thread) == ("", "")

    def test_nor_does_one_that_names_nothing_as_its_local_root(self) -> None:
        request = json.loads(spans_jsonl.encode([QUERY]))
        attributes = request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"]
        (root,) = [each for each in attributes if each["key"] == "otelprof.local_root_span_id"]
        root["value"] = {"stringValue": " "}
        (span,) = spans_jsonl.decode(json.dumps(request).encode())
        assert span.local_root_span_id == span.span_id

    @pytest.mark.parametrize(("key", "unset"), [("kind", 0), ("status", 0)])
    def test_what_a_span_leaves_out_is_unset(self, key: str, unset: int) -> None:
        request = json.loads(spans_jsonl.encode([REQUEST]))
        del request["resourceSpans"][0]["scopeSpans"][0]["spans"][0][key]
        (span,) = spans_jsonl.decode(json.dumps(request).encode())
        assert getattr(span, key) == unset

    def test_attributes_of_other_types_are_passed_over(self) -> None:
        request = json.loads(spans_jsonl.encode([QUERY]))
        attributes = request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"]
        attributes.append({"key": "http.status_code", "value": {"intValue": "200"}})
        assert spans_jsonl.decode(json.dumps(request).encode()) == [QUERY]


def without(key: str) -> bytes:
    return changed(key, None)


def changed(key: str, value: object) -> bytes:
    request = json.loads(spans_jsonl.encode([QUERY]))
    span = request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    if value is None:
        del span[key]
    else:
        span[key] = value
    return json.dumps(request).encode()


class TestDamage:
    @pytest.mark.parametrize(
        "line",
        [
            pytest.param(b"not JSON", id="text"),
            pytest.param(LINE[:-2], id="a line without its last byte"),
            pytest.param(LINE[: len(LINE) // 2], id="half a line"),
            pytest.param(b"\xff\xfe\xfd", id="no UTF-8"),
            pytest.param(b"[]", id="a list"),
            pytest.param(b"null", id="null"),
            pytest.param(b"1", id="a number"),
            pytest.param(b'"resourceSpans"', id="a string"),
            pytest.param(b"{}", id="another object"),
            pytest.param(b'{"resourceSpans":1}', id="a number of resources"),
            pytest.param(b'{"resourceSpans":[1]}', id="a resource that is a number"),
            pytest.param(b'{"resourceSpans":[{"scopeSpans":null}]}', id="no scopes"),
            pytest.param(
                b'{"resourceSpans":[{"scopeSpans":[{"spans":[1]}]}]}', id="a span that is 1"
            ),
            pytest.param(without("traceId"), id="no trace id"),
            pytest.param(without("spanId"), id="no span id"),
            pytest.param(without("name"), id="no name"),
            pytest.param(without("startTimeUnixNano"), id="no start"),
            pytest.param(without("endTimeUnixNano"), id="no end"),
            pytest.param(changed("traceId", "xyz"), id="a trace id that is no hex"),
            pytest.param(changed("spanId", 7), id="a span id that is a number"),
            pytest.param(changed("parentSpanId", "0"), id="half a byte of a parent"),
            pytest.param(changed("startTimeUnixNano", "soon"), id="a start that is no number"),
            pytest.param(changed("endTimeUnixNano", []), id="an end that is a list"),
            pytest.param(changed("endTimeUnixNano", "9" * 5_000), id="an end of 5,000 digits"),
            pytest.param(changed("kind", "server"), id="a kind by name"),
            pytest.param(changed("status", "ok"), id="a status that is text"),
            pytest.param(changed("attributes", [1]), id="an attribute that is a number"),
            pytest.param(changed("attributes", {"a": 1}), id="attributes as an object"),
            pytest.param(changed("startTimeUnixNano", float("inf")), id="a start at infinity"),
            pytest.param(b"[" * 100_000, id="a list in a list in a list"),
        ],
    )
    def test_is_told_by_its_line(self, line: bytes) -> None:
        with pytest.raises(FormatError, match=r"^spans: line 3: "):
            spans_jsonl.decode(LINE + b"\n" + line + b"\n" + LINE)

    def test_of_any_kind_raises_format_error_and_nothing_else(self) -> None:
        trial = Trial(spans_jsonl.decode, mutants(LINE + LINE, count=300, seed=41))
        assert trial.leaks == []
        assert trial.refused > 50, "the damage is too small to say anything"
        assert len(trial.decoded) > 30, "the damage is too great to reach the decoder"
