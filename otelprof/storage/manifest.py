"""The manifest of a batch: what must be known about it, as long as it waits, without reading all of it."""

import json
from typing import Any, NamedTuple, cast

from otelprof.errors import FormatError
from otelprof.model import Attributes
from otelprof.storage.records import Kind, framed

MAX_BATCH_BYTES = 64 << 20  # a flush is some 50 KiB; more than this is no batch of ours
MAX_MANIFEST_BYTES = 64 << 10
_MAX_TEXT = 4096
_MAX_DESTINATIONS = 64
_MAX_NUMBER = 2**63

# What tells services apart: a batch is delivered by its own service only.
_SERVICE = (
    "service.namespace",
    "service.name",
    "deployment.environment.name",
    "deployment.environment",  # the same before semantic conventions 1.27
)


class Manifest(NamedTuple):
    """What a batch is, in short.

    Attributes:
        service: as `service_of` has it.
        destinations: those that it is for, as `interfaces.Exporter.destination` with the exporter's name before.
        profiles, samples: how many it has.
        made_unix_ns: when it was collected.
    """

    service: str
    destinations: tuple[str, ...]
    profiles: int
    samples: int
    made_unix_ns: int


def service_of(resource: Attributes) -> str:
    """The service that a resource is of, as text."""
    attributes = dict(resource)
    return "/".join(str(attributes.get(key, "")) for key in _SERVICE)


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as a record."""
    text = json.dumps(manifest._asdict(), separators=(",", ":"))
    return framed(Kind.MANIFEST, text.encode("ascii"))


def decode_manifest(body: bytes) -> Manifest:
    """The manifest in the body of its record.

    Raises:
        FormatError: it is none.
    """
    try:
        fields: dict[str, Any] = json.loads(body)
        destinations = tuple(cast("list[str]", fields["destinations"]))
        manifest = Manifest(
            fields["service"],
            destinations,
            fields["profiles"],
            fields["samples"],
            fields["made_unix_ns"],
        )
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"spool: manifest: {type(error).__name__}: {error}") from error
    texts = (manifest.service, *destinations)
    numbers = (manifest.profiles, manifest.samples, manifest.made_unix_ns)
    if (
        not all(type(text) is str and len(text) <= _MAX_TEXT for text in texts)
        or len(destinations) > _MAX_DESTINATIONS
        or not all(type(number) is int and 0 <= number < _MAX_NUMBER for number in numbers)
    ):
        raise FormatError("spool: manifest: a value is of another type or too large")
    return manifest
