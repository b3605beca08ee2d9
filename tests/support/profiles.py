"""Small profiles for tests, said row by row: `profile_of(row(LEAF, ROOT, values=(2, 20)))`."""

from dataclasses import replace
from typing import NamedTuple

from otelprof.builder import ProfileBuilder
from otelprof.model import KINDS, NO_LINK, Link, Producer, Profile, ValueType

START_UNIX_NS = 1_700_000_000_000_000_000
DURATION_NS = 15_000_000_000
PERIOD_NS = 10_000_000


class Place(NamedTuple):
    """A place in a function, as strings."""

    function: str
    filename: str
    start_line: int
    line: int
    column: int = 0


ROOT = Place("app.main", "/srv/app/main.py", 1, 20)
MIDDLE = Place("app.orders.Order.place", "/srv/app/orders.py", 10, 14)
LEAF = Place("app.db.query", "/srv/app/db.py", 5, 7, 12)

TRACE_ID = bytes(range(0x10, 0x20))
SPAN_ID = bytes(range(0xB0, 0xB8))
ROOT_SPAN_ID = bytes(range(0xA0, 0xA8))
SPAN = Link(TRACE_ID, SPAN_ID, ROOT_SPAN_ID)
OTHER_SPAN = Link(TRACE_ID, bytes(range(0xC0, 0xC8)), ROOT_SPAN_ID)
ROOTLESS_SPAN = Link(TRACE_ID[::-1], bytes(range(0xD0, 0xD8)))


class Row(NamedTuple):
    """A row of a profile, as what its indices stand for."""

    places: tuple[Place, ...]
    values: tuple[int, ...]
    link: Link
    labels: tuple[tuple[str, str], ...]


def row(*places: Place, values: tuple[int, ...], link: Link = NO_LINK, **labels: str) -> Row:
    """A row of `profile_of`, places leaf first."""
    return Row(places, values, link, tuple(sorted(labels.items())))


def profile_of(
    *rows: Row,
    kind: str = "cpu",
    value_types: tuple[ValueType, ...] | None = None,
) -> Profile:
    """A valid profile of `rows`; value types are those of `kind` unless given."""
    types = value_types or KINDS[kind]
    builder = ProfileBuilder(types)
    for places, values, link, labels in rows:
        stack = builder.stack([builder.frame(*place) for place in places])
        builder.add(stack, builder.link(link), builder.label_set(dict(labels)), values)
    return builder.build(
        kind=kind,
        start_unix_ns=START_UNIX_NS,
        duration_ns=DURATION_NS,
        period_type=types[-1],
        period=PERIOD_NS,
        profile_id=bytes([len(kind), *range(1, 16)]),
    )


def rows_of(profile: Profile) -> list[Row]:
    """What `profile_of` was given, whatever the order of the tables."""
    return [
        Row(
            places=places_of(profile, profile.stack[number]),
            values=tuple(column[number] for column in profile.values),
            link=profile.tables.links[profile.link[number]],
            labels=tuple(sorted(profile.tables.labels_of(profile.labels[number]).items())),
        )
        for number in range(len(profile))
    ]


def places_of(profile: Profile, stack: int) -> tuple[Place, ...]:
    """The stack in row `stack`, leaf first."""
    tables = profile.tables
    places: list[Place] = []
    for frame in tables.stacks[stack]:
        function = tables.function_of(frame)
        name, filename = tables.strings[function.name], tables.strings[function.filename]
        _, line, column = tables.frames[frame]
        places.append(Place(name, filename, function.start_line, line, column))
    return tuple(places)


def cpu_and_wall() -> list[Profile]:
    """One flush with everything in it: spans, local roots, labels, losses, every type of attribute."""
    cpu = profile_of(
        row(LEAF, MIDDLE, ROOT, values=(3, 31_000_000), link=SPAN, thread_name="MainThread"),
        row(MIDDLE, ROOT, values=(1, 9_000_000), link=SPAN, thread_name="MainThread"),
        row(LEAF, ROOT, values=(2, 20_000_000), link=ROOTLESS_SPAN, thread_name="worker"),
        row(ROOT, values=(1, 10_000_000), thread_name="worker", span="unknown"),
    )
    wall = profile_of(
        row(LEAF, MIDDLE, ROOT, values=(4, 40_000_000), link=SPAN, thread_name="MainThread"),
        row(ROOT, values=(9, 90_000_000), link=OTHER_SPAN),
        kind="wall",
    )
    resource = (
        ("service.name", "shop"),
        ("process.pid", 4711),
        ("shop.ratio", 0.25),
        ("shop.canary", True),
        ("process.command_args", ("python", "app.py")),
    )
    producer = Producer("0.1.0", "python", "a test")
    losses = (("overflow", 2), ("truncated", 5))
    return [replace(p, resource=resource, producer=producer, losses=losses) for p in (cpu, wall)]
