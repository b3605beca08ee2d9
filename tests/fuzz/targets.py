"""What is fuzzed: each reader with its seeds, and what must be true of whatever it makes of its input."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from google.protobuf.message import Message
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)

from otelprof.comparison import means_same
from otelprof.errors import FormatError
from otelprof.formats import otlp, pprof
from otelprof.formats import pprof_pb2 as pb
from otelprof.model import Profile
from tests.support.generated import generated
from tests.support.profiles import cpu_and_wall

# Small inputs and few profiles of them: many thousand inputs say more than a few large ones.
MAX_SEED_BYTES = 8_192
MAX_CHECKED = 4


@dataclass(frozen=True, slots=True)
class Target:
    """A reader.

    Attributes:
        run: reads an input; raises if anything but a FormatError comes of it, or if what was read is not sound.
        seeds: inputs that are read.
        message: of what the input is the bytes, for mutations of fields; None if of nothing of protobuf's.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    message: type[Message] | None


def _read_pprof(blob: bytes) -> None:
    # A file names each value type once, so that of two kinds both may not come back as they were.
    profiles = _decoded(pprof.decode, blob)[:1]
    if profiles:
        _check(pprof.decode(pprof.encode(profiles)), profiles)


def _read_otlp(blob: bytes) -> None:
    for profile in _decoded(otlp.decode, blob)[:MAX_CHECKED]:
        _check(otlp.decode(otlp.encode([profile], full=True)), [profile])


def _decoded(decode: Callable[[bytes], list[Profile]], blob: bytes) -> list[Profile]:
    try:
        return decode(blob)
    except FormatError:
        return []


def _check(again: list[Profile], profiles: list[Profile]) -> None:
    """What was read is the same when it is written and read again."""
    if not all(map(means_same, again, profiles)) or len(again) != len(profiles):
        raise AssertionError("what was read changes when it is written and read again")


def _pprof_seeds() -> Iterator[bytes]:
    yield pprof.encode(cpu_and_wall())
    for profiles in _profiles():
        yield pprof.message(profiles)


def _otlp_seeds() -> Iterator[bytes]:
    for profiles in _profiles():
        yield otlp.encode(profiles)
        yield otlp.encode(profiles, full=True)


def _profiles() -> Iterator[list[Profile]]:
    yield cpu_and_wall()
    for seed in range(40):
        profiles = [generated(seed, kind=kind) for kind in ("cpu", "heap")]
        if len(pprof.message(profiles)) < MAX_SEED_BYTES:
            yield profiles


TARGETS = {
    "pprof": Target(_read_pprof, _pprof_seeds, pb.Profile),
    "otlp": Target(_read_otlp, _otlp_seeds, ExportProfilesServiceRequest),
}
