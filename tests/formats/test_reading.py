"""Profiles told by what is in a file, whatever its name."""

import gzip
from collections.abc import Callable

import pytest

from otelprof.errors import FormatError
from otelprof.formats import collapsed, gecko, json_profile, otlp, pprof, reading, spans_jsonl
from otelprof.formats.limits import Limits
from otelprof.formats.pprof_pb2 import Profile as Message
from otelprof.model import Profile, SpanRecord
from tests.support.profiles import ROOT_SPAN_ID, SPAN_ID, TRACE_ID, cpu_and_wall, profile_of

PROFILES = cpu_and_wall()
RECORD = SpanRecord(TRACE_ID, SPAN_ID, b"", ROOT_SPAN_ID, "GET /", 2, "/", 0, 0, 9, "MainThread")


def full(profiles: list[Profile]) -> bytes:
    return otlp.encode(profiles, full=True)


@pytest.mark.parametrize("wrap", [bytes, gzip.compress])
@pytest.mark.parametrize(("encode", "decode"), [(full, otlp.decode), (pprof.message, pprof.decode)])
def test_is_read_as_what_it_is(
    encode: Callable[[list[Profile]], bytes],
    decode: Callable[[bytes], list[Profile]],
    wrap: Callable[[bytes], bytes],
) -> None:
    for profiles in (PROFILES, [profile_of()]):
        assert reading.decode(wrap(encode(profiles))) == decode(encode(profiles))


def test_a_pprof_file_whose_fields_are_in_another_order_is_one() -> None:
    message = Message(string_table=["", "samples", "count"])
    message.sample_type.add(type=1, unit=2)
    first = Message(sample_type=message.sample_type).SerializeToString()
    rest = Message(string_table=message.string_table).SerializeToString()
    for blob in (first + rest, rest + first):
        assert reading.decode(blob) == pprof.decode(blob)


@pytest.mark.parametrize(
    ("blob", "what"),
    [
        (b"", "the file is empty"),
        (gzip.compress(b""), "the file is empty"),
        (spans_jsonl.encode([RECORD]), "this is spans as OTLP/JSON"),
        (json_profile.encode(PROFILES), "this is JSON"),
        (gecko.encode(PROFILES), "this is a file for the Firefox Profiler"),
        (collapsed.encode(PROFILES), "this is collapsed stacks"),
        (b"<!doctype html>", "this is HTML or XML"),
        (b"\x00\x01", "this is neither pprof nor OTLP"),
        (b"just some text", "this is neither pprof nor OTLP"),
        (full(PROFILES)[:-1], "this is neither pprof nor OTLP"),
        (b"\x1f\x8b torn", "not gzip"),
    ],
)
def test_what_it_is_not_is_said(blob: bytes, what: str) -> None:
    with pytest.raises(FormatError, match=what):
        reading.decode(blob)


def test_limits_hold_before_anything_is_parsed() -> None:
    with pytest.raises(FormatError, match="more than 10"):
        reading.decode(full(PROFILES), limits=Limits(max_bytes=10))
