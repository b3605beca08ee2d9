"""Changes of one field of a protobuf message, which changes of bytes seldom reach: an index, a count, a length."""

import random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_NUMBERS = (0, 1, 2, 7, 127, 128, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
_TEXTS = (
    "",
    "\x00",
    "é",
    "=",
    "trace_id",
    "otelprof.kind",
    "otelprof.lost.x=9",
    "f" * 32,
    "0" * 16,
)
_STEPS = 12  # at most so deep; values may be nested for ever


def mutated(message: Message, rng: random.Random) -> None:
    """Change one field somewhere in `message`."""
    target = message
    for _ in range(_STEPS):
        children = _children(target)
        if not children or rng.random() < 0.3:
            break
        target = rng.choice(children)
    field: Any = rng.choice(list(target.DESCRIPTOR.fields))
    if field.is_repeated:
        _change_list(getattr(target, field.name), field, rng)
    elif field.message_type is not None:
        if rng.random() < 0.5:
            target.ClearField(field.name)
        else:
            getattr(target, field.name).SetInParent()
    else:
        setattr(target, field.name, _value(field, rng))


def _children(message: Message) -> list[Message]:
    children: list[Message] = []
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        # A few of many: samples would be all that is ever changed.
        children += list(value)[:4] if field.is_repeated else [value]
    return children


def _change_list(items: Any, field: FieldDescriptor, rng: random.Random) -> None:
    choice = rng.randrange(4)
    if choice == 0 and len(items):
        del items[rng.randrange(len(items))]
    elif choice == 1 and len(items):
        item = rng.choice(items)
        for _ in range(rng.choice([1, 1, 50])):
            items.append(item)
    elif field.message_type is not None:
        items.add()
    elif choice == 2 and len(items):
        items[rng.randrange(len(items))] = _value(field, rng)
    else:
        items.append(_value(field, rng))


def _value(field: FieldDescriptor, rng: random.Random) -> Any:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        text = rng.choice(_TEXTS)
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if kind == FieldDescriptor.CPPTYPE_DOUBLE:
        return rng.choice([0.0, -1.5, 1e300, float("inf"), float("nan")])
    low, high = {
        FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
        FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
        FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
        FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
        FieldDescriptor.CPPTYPE_ENUM: (0, 1),
    }[kind]
    return max(low, min(high, rng.choice([*_NUMBERS, -1, rng.randrange(20)])))
