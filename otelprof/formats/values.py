"""The values of profiles by name, for formats that hold one value or show one at a time.

A kind's own name stands for its weight (`cpu`, `wall`, `heap`); its other values are `KIND/TYPE`, such as `cpu/samples`.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from otelprof.builder import merged
from otelprof.errors import FormatError
from otelprof.model import KINDS, Profile, ValueType


class Value(NamedTuple):
    """A column of values of a profile.

    Attributes:
        name: what a user calls it, `cpu` or `cpu/samples`.
        column: its row in `profile.values`.
    """

    name: str
    profile: Profile
    column: int

    @property
    def type(self) -> ValueType:
        """What it counts, in which unit."""
        return self.profile.value_types[self.column]

    @property
    def numbers(self) -> tuple[int, ...]:
        """One number for each row of the profile."""
        return self.profile.values[self.column]


def added_up(format_name: str, profiles: Sequence[Profile]) -> list[Profile]:
    """`profiles`, added up by kind: those of `KINDS` first, then by name.

    Raises:
        FormatError: there is no profile.
    """
    if not profiles:
        raise FormatError(f"{format_name}: there is no profile to encode")
    order = list(KINDS)
    return sorted(
        merged(profiles),
        key=lambda p: (order.index(p.kind) if p.kind in KINDS else len(order), p.kind),
    )


def values_of(profiles: Sequence[Profile]) -> Iterator[Value]:
    """Every value, a profile's weight before its counts."""
    for profile in profiles:
        weight = len(profile.value_types) - 1
        yield Value(profile.kind, profile, weight)
        for column, value_type in enumerate(profile.value_types[:weight]):
            yield Value(f"{profile.kind}/{value_type.type}", profile, column)


def value_named(format_name: str, profiles: Sequence[Profile], name: str) -> list[Value]:
    """The value that is called `name`, or the first one if `name` is empty; of several profiles if they share a kind.

    Raises:
        FormatError: no value has that name; the message lists those that there are.
    """
    values = list(values_of(added_up(format_name, profiles)))
    wanted = name or values[0].name
    chosen = [value for value in values if wanted in {value.name, _full_name(value)}]
    if not chosen:
        names = ", ".join(dict.fromkeys(value.name for value in values))
        raise FormatError(f"{format_name}: no value is named {name!r}, only {names}")
    return chosen


def _full_name(value: Value) -> str:
    return f"{value.profile.kind}/{value.type.type}"
