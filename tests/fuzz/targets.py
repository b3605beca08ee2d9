"""What is fuzzed: each reader with its seeds, and what must be true of whatever it makes of its input."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from google.protobuf.message import Message
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)

from otelprof.comparison import means_same
from otelprof.errors import FormatError
from otelprof.formats import otlp, pprof, spans_jsonl
from otelprof.formats import pprof_pb2 as pb
from otelprof.model import Batch, Profile, SpanRecord, ValueType
from otelprof.storage.adoption import read_envelope
from otelprof.storage.manifest import Manifest, decode_manifest, encode_manifest
from otelprof.storage.payload import decode_batch, encode_batch
from otelprof.storage.records import HEAD_BYTES, Kind, Record, framed, read_records
from tests.support.damage import sealed
from tests.support.generated import generated
from tests.support.profiles import START_UNIX_NS, cpu_and_wall

# Small inputs and few profiles of them: many thousand inputs say more than a few large ones.
MAX_SEED_BYTES = 8_192
MAX_CHECKED = 4

MANIFEST = Manifest("shop", ("otlp http://here", "otlp http://there"), 2, 30, START_UNIX_NS)


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


def _read_spans(blob: bytes) -> None:
    with suppress(FormatError):
        spans = spans_jsonl.decode(blob)
        if spans_jsonl.decode(spans_jsonl.encode(spans)) != spans:
            raise AssertionError("the spans change when they are written and read again")


def _read_records(blob: bytes) -> None:
    read: list[Record] = []
    with suppress(FormatError):
        read.extend(read_records(blob))
    at = 0
    for record in read:
        at += HEAD_BYTES
        if not blob.startswith(record.body, at):
            raise AssertionError("a record was read that is not there")
        at += len(record.body)


def _read_manifest(blob: bytes) -> None:
    with suppress(FormatError):
        manifest = decode_manifest(blob)
        (record,) = read_records(encode_manifest(manifest))
        if decode_manifest(record.body) != manifest:
            raise AssertionError("the manifest changes when it is written and read again")


def _read_file(blob: bytes) -> None:
    """As a file that another process has left: what it is for, and the batch."""
    blob = sealed(blob)
    with TemporaryDirectory() as directory:
        path = Path(directory, "000000000001.batch")
        path.write_bytes(blob)
        with suppress(FormatError):
            read_envelope(path)
    with suppress(FormatError):
        batch = decode_batch(blob)
        again = decode_batch(encode_batch(batch))
        # Damage may part what is one profile; written again it is together.
        if _totals(again.profiles) != _totals(batch.profiles):
            raise AssertionError("what was read changes when it is written and read again")


def _totals(profiles: Sequence[Profile]) -> Counter[ValueType]:
    """The sums of all values, by what they are."""
    totals: Counter[ValueType] = Counter()
    for profile in profiles:
        for value_type, column in zip(profile.value_types, profile.values, strict=True):
            totals[value_type] += sum(column)
    return totals


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


def _spans_seeds() -> Iterator[bytes]:
    ids = bytes(range(16)), bytes(range(8))
    root = SpanRecord(*ids, b"", ids[1], "GET /größe", 2, "/größe", 0, 1, 2, "MainThread")
    child = root._replace(parent_span_id=ids[1][::-1], status=2, thread="", name="\udcff")
    yield spans_jsonl.encode([root])
    yield spans_jsonl.encode([root, child], (("service.name", "shop"), ("ratio", 0.5))) * 2


def _manifest_seeds() -> Iterator[bytes]:
    for manifest in (MANIFEST, MANIFEST._replace(service="größe", destinations=())):
        (record,) = read_records(encode_manifest(manifest))
        yield record.body


def _spool_seeds() -> Iterator[bytes]:
    """Files of the spool: with spans or without, and with notes of who has it."""
    (spans, *_) = map(spans_jsonl.decode, _spans_seeds())
    done = framed(Kind.DONE, MANIFEST.destinations[0].encode())
    for profiles in _profiles():
        for batch in (Batch(tuple(profiles)), Batch(tuple(profiles), tuple(spans))):
            yield encode_manifest(MANIFEST) + encode_batch(batch) + done


def _profiles() -> Iterator[list[Profile]]:
    yield cpu_and_wall()
    for seed in range(40):
        profiles = [generated(seed, kind=kind) for kind in ("cpu", "heap")]
        if len(pprof.message(profiles)) < MAX_SEED_BYTES:
            yield profiles


TARGETS = {
    "pprof": Target(_read_pprof, _pprof_seeds, pb.Profile),
    "otlp": Target(_read_otlp, _otlp_seeds, ExportProfilesServiceRequest),
    "spans": Target(_read_spans, _spans_seeds, None),
    "spool-records": Target(_read_records, _spool_seeds, None),
    "spool-manifest": Target(_read_manifest, _manifest_seeds, None),
    "spool-file": Target(_read_file, _spool_seeds, None),
}
