"""Spools as other processes have left them."""

from collections.abc import Sequence
from pathlib import Path

from otelprof.model import Batch
from otelprof.storage.adoption import Adoption, Found
from otelprof.storage.manifest import Manifest
from otelprof.storage.payload import encode_batch
from otelprof.storage.spool import Spool, Stored
from tests.support.pipelines import batch_of
from tests.support.profiles import START_UNIX_NS

SERVICE = "shop"
HERE, THERE = "otlp http://here", "otlp http://there"


def manifest_of(
    *destinations: str, service: str = SERVICE, made_unix_ns: int = START_UNIX_NS
) -> Manifest:
    return Manifest(service, destinations or (HERE,), 1, 1, made_unix_ns)


def write(spool: Spool, number: int = 1, manifest: Manifest | None = None) -> Stored:
    """Put a batch whose only profile weighs `number` into the spool."""
    return spool.write(manifest or manifest_of(), encode_batch(batch_of(number)))


def left_by_a_dead_process(path: Path, *manifests: Manifest) -> Sequence[Stored]:
    """Batches, numbered from 1, of a process that lives no more."""
    spool = Spool(path)
    stored = [write(spool, number, manifest) for number, manifest in enumerate(manifests, 1)]
    for directory in {each.directory for each in stored}:
        directory.release()
    return stored


def adopt(
    path: Path,
    *destinations: str,
    service: str = SERVICE,
    oldest_unix_ns: int = 0,
) -> Found:
    look = Adoption(path, service, destinations or (HERE,), oldest_unix_ns=oldest_unix_ns)
    return look.look()


def weight_of(batch: Batch) -> int:
    (profile,) = batch.profiles
    (weight,) = profile.column("cpu")
    return weight
