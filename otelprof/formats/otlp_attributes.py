"""Attributes in OTLP: which ones are ours, and how they are written.

Source: opentelemetry-proto v1.10.0, opentelemetry/proto/common/v1/common.proto and KeyValueAndUnit in profiles.proto.
"""

import struct
from collections.abc import Callable, Iterable

from otelprof.formats import wire
from otelprof.model import AttributeValue

# What our profiles say that OTLP has no field for.
KIND = "otelprof.kind"
PRODUCER = "otelprof.producer."
LOST = "otelprof.lost."
LOCAL_ROOT = "otelprof.local_root_span_id"

# A key and the body of its AnyValue: with it True, 1 and 1.0, which are equal, stay apart.
Described = tuple[str, bytes]

_DOUBLE_TAG = bytes([4 << 3 | 1])


def any_value(value: AttributeValue) -> bytes:
    """The body of an AnyValue. Zeros are written: the field says which type it is."""
    if isinstance(value, bool):
        return bytes([2 << 3, value])
    if isinstance(value, int):
        return bytes([3 << 3]) + wire.varint(value)
    if isinstance(value, float):
        return _DOUBLE_TAG + struct.pack("<d", value)
    if isinstance(value, str):
        return wire.one(1, wire.encoded(value))
    return wire.one(5, b"".join(wire.one(1, any_value(item)) for item in value))


class AttributeTable:
    """The attributes of a request, each once, sorted.

    Attributes:
        bodies: KeyValueAndUnit messages, without the null row; their numbers start from 1.
    """

    def __init__(self, attributes: Iterable[Described], string: Callable[[str], int]) -> None:
        """`string` gives the number of a key in the table of strings."""
        body_of = {
            attribute: wire.integer(1, string(attribute[0])) + wire.one(2, attribute[1])
            for attribute in attributes
        }
        self.bodies = sorted(set(body_of.values()))
        number = {body: row for row, body in enumerate(self.bodies, 1)}
        self._numbers = {attribute: number[body] for attribute, body in body_of.items()}

    def numbers(self, attributes: Iterable[Described]) -> list[int]:
        """The rows of `attributes`, sorted."""
        return sorted(map(self._numbers.__getitem__, attributes))
