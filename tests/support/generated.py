"""Valid profiles made up by chance, the same in every run, and the same profile in other words."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from otelprof.builder import ProfileBuilder
from otelprof.model import (
    KINDS,
    NO_LINK,
    Attributes,
    Frame,
    Function,
    Link,
    Producer,
    Profile,
    Tables,
    ValueType,
)

_Row = TypeVar("_Row")

_LETTERS = "abz_.<>$ \n=\"'\\éß漢\U0001f525\x00"
_RESOURCES: tuple[Attributes, ...] = (
    (),
    (("service.name", "shop"), ("process.pid", 4711)),
    (("b", True), ("a", -1), ("c", 1.5), ("d", ("x", "")), ("e", "")),
)


def generated(seed: int, *, kind: str = "cpu", lone_surrogates: bool = False) -> Profile:
    """A profile with long and short stacks, large and small numbers, and odd names. Every row weighs something."""
    rng = random.Random(seed)
    letters = _LETTERS + ("\udcff" if lone_surrogates else "")

    def text() -> str:
        return "".join(rng.choices(letters, k=rng.choice([1, 2, 8, 200])))

    def number() -> int:
        return rng.choice([0, 1, rng.randrange(300), rng.randrange(2**40)])

    types = KINDS.get(kind) or (ValueType("objects", "count"), ValueType("space", "bytes"))
    builder = ProfileBuilder(types)
    # More than 127, so that numbers take one byte and two.
    frames = [
        builder.frame(text(), rng.choice(["", text()]), number(), number(), number())
        for _ in range(rng.choice([1, 5, 300]))
    ]
    links = [NO_LINK]
    links += [_link(rng) for _ in range(rng.choice([0, 3, 200]))]
    label_sets = [{text(): text() for _ in range(rng.randrange(4))} for _ in range(5)]
    for _ in range(rng.choice([0, 1, 30, 400])):
        depth = rng.choice([1, 2, 30, 200])
        builder.add(
            builder.stack(rng.choices(frames, k=depth)),
            builder.link(rng.choice(links)),
            builder.label_set(rng.choice(label_sets)),
            (number(), 1 + number()),
        )
    return builder.build(
        kind=kind,
        start_unix_ns=rng.choice([0, 1_700_000_000_000_000_000]),
        duration_ns=number(),
        period_type=types[-1],
        period=1 + number(),
        resource=rng.choice(_RESOURCES),
        profile_id=rng.choice([b"", rng.randbytes(16)]),
        producer=Producer(rng.choice(["", "0.1.0"]), rng.choice(["", "core"])),
        losses=rng.choice([(), (("truncated", 5), ("overflow", 2**40))]),
    )


def _link(rng: random.Random) -> Link:
    return Link(rng.randbytes(16), rng.randbytes(8), rng.choice([b"", rng.randbytes(8)]))


def reworded(profile: Profile, seed: int) -> Profile:
    """The same profile with its tables and rows in another order, and with table entries that no row names."""
    rng = random.Random(seed)
    tables = profile.tables
    strings, string = _shuffled(rng, (*tables.strings, "unused ä"), lambda row: row)
    unused = len(tables.strings)
    functions, function = _shuffled(
        rng,
        (*tables.functions, Function(unused, unused, 2**40)),
        lambda f: Function(string[f.name], string[f.filename], f.start_line),
    )
    frames, frame = _shuffled(
        rng,
        (*tables.frames, Frame(len(tables.functions), 7)),
        lambda f: f._replace(function=function[f.function]),
    )
    stacks, stack = _shuffled(
        rng,
        (*tables.stacks, (len(tables.frames),) * 3),
        lambda row: tuple(frame[f] for f in row),
    )
    links, link = _shuffled(rng, (*tables.links, Link(b"\x01" * 16, b"\x02" * 8)), lambda row: row)
    label_sets, label_set = _shuffled(
        rng,
        (*tables.label_sets, ((unused, unused),)),
        lambda row: tuple((string[key], string[value]) for key, value in row),
    )
    order = rng.sample(range(len(profile)), len(profile))
    return replace(
        profile,
        tables=Tables(strings, functions, frames, stacks, links, label_sets),
        stack=tuple(stack[profile.stack[row]] for row in order),
        link=tuple(link[profile.link[row]] for row in order),
        labels=tuple(label_set[profile.labels[row]] for row in order),
        values=tuple(tuple(column[row] for row in order) for column in profile.values),
        resource=tuple(rng.sample(profile.resource, len(profile.resource))),
        losses=tuple(rng.sample([*profile.losses, ("nothing", 0)], len(profile.losses) + 1)),
    )


def _shuffled(
    rng: random.Random, table: Sequence[_Row], renumber: Callable[[_Row], _Row]
) -> tuple[tuple[_Row, ...], list[int]]:
    """A table in another order behind its null row, and where each row went."""
    order = [0, *rng.sample(range(1, len(table)), len(table) - 1)]
    place = [0] * len(table)
    for new, old in enumerate(order):
        place[old] = new
    return tuple(renumber(table[old]) for old in order), place
