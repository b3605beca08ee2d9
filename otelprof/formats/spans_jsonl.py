"""Span records as OTLP/JSON lines: one `ExportTraceServiceRequest` a line, ids in hex.

    {"resourceSpans":[{"resource":{…},"scopeSpans":[{"scope":{"name":"otelprof"},"spans":[{"traceId":"5b8e…",…}]}]}]}

So whatever reads OTLP/JSON files, such as the Collector's `otlpjsonfile` receiver, reads them too. What OTLP
has no field for leaves as attributes: `otelprof.local_root_span_id`, `thread.name`.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from otelprof.errors import FormatError
from otelprof.model import Attributes, AttributeValue, SpanRecord

_LOCAL_ROOT = "otelprof.local_root_span_id"
_THREAD = "thread.name"
_ROUTE = "http.route"
_NON_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}  # as protobuf's JSON has them


def spans_path(profile: Path) -> Path:
    """Where the spans beside a profile are: `out.spans.jsonl` for `out.pb.gz`."""
    return profile.with_name(profile.name.removesuffix(".pb.gz") + ".spans.jsonl")


def encode(spans: Iterable[SpanRecord], resource: Attributes = ()) -> bytes:
    """One line with all `spans`; nothing if there are none."""
    encoded = [_span(span) for span in spans]
    if not encoded:
        return b""
    request = {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": [{"key": k, "value": _any_value(v)} for k, v in resource]
                },
                "scopeSpans": [{"scope": {"name": "otelprof"}, "spans": encoded}],
            },
        ],
    }
    text = json.dumps(request, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # Lone surrogates, from names that are not Unicode, become escapes that JSON has for them.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def decode(blob: bytes) -> list[SpanRecord]:
    """The spans of all lines.

    Raises:
        FormatError: a line is not such a request; the message names the line.
    """
    spans: list[SpanRecord] = []
    for number, line in enumerate(blob.splitlines(), 1):
        if not line.strip():
            continue
        try:
            for resource_spans in json.loads(line)["resourceSpans"]:
                for scope_spans in resource_spans["scopeSpans"]:
                    spans.extend(_record(span) for span in scope_spans["spans"])
        except (
            LookupError,
            TypeError,
            ValueError,
            ArithmeticError,
            AttributeError,
            RecursionError,
        ) as error:
            raise FormatError(f"spans: line {number}: {type(error).__name__}: {error}") from error
    return spans


def _span(span: SpanRecord) -> dict[str, Any]:
    attributes = {
        _LOCAL_ROOT: span.local_root_span_id.hex(),
        _THREAD: span.thread,
        _ROUTE: span.route,
    }
    message: dict[str, Any] = {
        "traceId": span.trace_id.hex(),
        "spanId": span.span_id.hex(),
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.start_unix_ns),  # 64-bit integers are strings in OTLP/JSON
        "endTimeUnixNano": str(span.end_unix_ns),
        "attributes": [{"key": k, "value": _any_value(v)} for k, v in attributes.items() if v],
        "status": {"code": span.status} if span.status else {},
    }
    if span.parent_span_id:
        message["parentSpanId"] = span.parent_span_id.hex()
    return message


def _record(message: dict[str, Any]) -> SpanRecord:
    attributes: dict[str, str] = {
        str(item["key"]): str(item["value"].get("stringValue", ""))
        for item in message.get("attributes", ())
    }
    span_id = bytes.fromhex(message["spanId"])
    return SpanRecord(
        trace_id=bytes.fromhex(message["traceId"]),
        span_id=span_id,
        parent_span_id=bytes.fromhex(message.get("parentSpanId", "")),
        local_root_span_id=bytes.fromhex(attributes.get(_LOCAL_ROOT, "")) or span_id,
        name=str(message["name"]),
        kind=int(message.get("kind", 0)),
        route=attributes.get(_ROUTE, ""),
        status=int(message.get("status", {}).get("code", 0)),
        start_unix_ns=int(message["startTimeUnixNano"]),
        end_unix_ns=int(message["endTimeUnixNano"]),
        thread=attributes.get(_THREAD, ""),
    )


def _any_value(value: AttributeValue) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value if math.isfinite(value) else _NON_FINITE[str(value)]}
    if isinstance(value, str):
        return {"stringValue": value}
    return {"arrayValue": {"values": [{"stringValue": item} for item in value]}}
