"""Written by hand, but not otherwise than protobuf's own classes would; and the same for what says the same."""

import gzip
from collections.abc import Callable, Sequence

import pytest
from google.protobuf.message import Message
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)

from otelprof.formats import otlp, packing, pprof, wire
from otelprof.formats import pprof_pb2 as pb
from otelprof.model import Profile
from tests.support import core
from tests.support.generated import generated, reworded
from tests.support.otlp_rules import violations

SEEDS = range(40)
# How profiles are written, and the class of the message.
WRITERS: dict[str, tuple[Callable[[Sequence[Profile]], bytes], type[Message]]] = {
    "pprof": (pprof.message, pb.Profile),
    "otlp": (otlp.encode, ExportProfilesServiceRequest),
    "otlp, root links": (
        lambda profiles: otlp.encode(profiles, root_links=True),
        ExportProfilesServiceRequest,
    ),
    "otlp in full": (
        lambda profiles: otlp.encode(profiles, full=True),
        ExportProfilesServiceRequest,
    ),
}


def batch(seed: int) -> list[Profile]:
    """One to three profiles of different kinds."""
    kinds = [["cpu"], ["cpu", "wall"], ["wall", "heap", "cpu"]][seed % 3]
    return [
        generated(10 * seed + n, kind=kind, lone_surrogates=True) for n, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize(("write", "message"), WRITERS.values(), ids=WRITERS.keys())
@pytest.mark.parametrize("seed", SEEDS)
class TestEveryWriter:
    def test_writes_what_the_classes_write(
        self, write: Callable[[Sequence[Profile]], bytes], message: type[Message], seed: int
    ) -> None:
        blob = write(batch(seed))
        parsed = message()
        assert parsed.ParseFromString(blob) == len(blob)
        assert parsed.SerializeToString(deterministic=True) == blob

    def test_writes_the_same_for_what_says_the_same(
        self, write: Callable[[Sequence[Profile]], bytes], message: type[Message], seed: int
    ) -> None:
        profiles = batch(seed)
        others = [reworded(profile, seed) for profile in profiles]
        assert [profile.problem() for profile in others] == [None] * len(others)
        assert write(others) == write(profiles)

    def test_writes_the_same_with_and_without_the_core(
        self,
        write: Callable[[Sequence[Profile]], bytes],
        message: type[Message],
        seed: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        core.required()
        monkeypatch.setattr(wire, "_writer", packing)
        in_python = write(batch(seed))
        monkeypatch.undo()
        assert wire._writer is not packing
        assert write(batch(seed)) == in_python


@pytest.mark.parametrize("seed", SEEDS)
def test_requests_follow_every_rule(seed: int) -> None:
    leaves, kept = otlp.encode(batch(seed)), otlp.encode(batch(seed), full=True)
    assert violations(kept) == []
    if leaves:  # else there is nothing in it for a receiver
        assert violations(leaves) == []


def test_a_file_is_the_message_in_gzip() -> None:
    assert gzip.decompress(pprof.encode(batch(1))) == pprof.message(batch(1))


@pytest.mark.parametrize("seed", SEEDS)
def test_many_are_sorted_as_few_are(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = pprof.message(batch(seed))
    monkeypatch.setattr(wire, "_ROWS_AT_ONCE", 2)
    assert pprof.message(batch(seed)) == blob
