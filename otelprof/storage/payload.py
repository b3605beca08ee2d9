"""A batch as the records of a spool file, and back.

The profiles are in the lossless OTLP encoding, the spans in the lines that leave beside profiles. What that takes
is 30 ms of imports: this module is loaded when something has to be kept, and not where all is written to files.
"""

from otelprof.formats import otlp, spans_jsonl
from otelprof.model import Batch
from otelprof.storage.records import Kind, TornError, framed, read_records


def encode_batch(batch: Batch) -> bytes:
    """The records of spans and profiles. The profiles come last: where they are whole, so is all before them."""
    spans = spans_jsonl.encode(batch.spans, batch.resource)
    profiles = framed(Kind.PROFILES, otlp.encode(batch.profiles, full=True))
    return framed(Kind.SPANS, spans) + profiles if spans else profiles


def decode_batch(blob: bytes) -> Batch:
    """The batch in the records of a file; its resource is that of its profiles.

    Raises:
        FormatError: the records, or what is in them, are not what was written.
    """
    spans = b""
    for record in read_records(blob):
        if record.kind == Kind.SPANS:
            spans = record.body
        elif record.kind == Kind.PROFILES:
            # What comes after, notes of who has it, may be cut short: it is not looked at.
            profiles = tuple(otlp.decode(record.body))
            resource = profiles[0].resource if profiles else ()
            return Batch(profiles, tuple(spans_jsonl.decode(spans)), resource)
    raise TornError("spool: there are no profiles")
