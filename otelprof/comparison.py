"""Two profiles, compared: whether they say the same, and what changed from one to the other."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeVar

from otelprof.builder import ProfileBuilder
from otelprof.model import NO_LINK, Frame, Function, Profile, Tables

_Row = TypeVar("_Row", bound=str | tuple[Any, ...])


def canonical(profile: Profile) -> Profile:
    """The same profile in the one form that all which say the same have.

    Tables hold what the rows name and nothing else; tables, rows, resource and losses are sorted by what they
    say, and losses of nothing are left out. O(n log n) of rows, frames and strings.
    """
    tables = profile.tables
    stacks = {row: tables.stacks[row] for row in set(profile.stack)}
    frames = {row: tables.frames[row] for row in set(chain.from_iterable(stacks.values()))}
    functions = {row: tables.functions[row] for row in {f.function for f in frames.values()}}
    label_sets = {row: tables.label_sets[row] for row in set(profile.labels)}
    string_rows = {row for f in functions.values() for row in (f.name, f.filename)}
    string_rows |= {row for labels in label_sets.values() for label in labels for row in label}

    strings, string = _sorted({row: tables.strings[row] for row in string_rows}, "")
    functions_table, function = _sorted(
        {
            row: Function(string[f.name], string[f.filename], f.start_line)
            for row, f in functions.items()
        },
        Function(0, 0, 0),
    )
    frames_table, frame = _sorted(
        {row: f._replace(function=function[f.function]) for row, f in frames.items()}, Frame(0, 0)
    )
    stacks_table, stack = _sorted(
        {row: tuple(frame[f] for f in rows) for row, rows in stacks.items()}, ()
    )
    label_sets_table, label_set = _sorted(
        {
            row: tuple((string[key], string[value]) for key, value in labels)
            for row, labels in label_sets.items()
        },
        (),
    )
    links_table, link = _sorted({row: tables.links[row] for row in set(profile.link)}, NO_LINK)
    ordered = sorted(
        zip(
            (stack[row] for row in profile.stack),
            (link[row] for row in profile.link),
            (label_set[row] for row in profile.labels),
            *profile.values,
            strict=True,
        )
    )
    columns = list(zip(*ordered, strict=True)) or [()] * (3 + len(profile.values))
    return replace(
        profile,
        tables=Tables(
            strings=strings,
            functions=functions_table,
            frames=frames_table,
            stacks=stacks_table,
            links=links_table,
            label_sets=label_sets_table,
        ),
        stack=columns[0],
        link=columns[1],
        labels=columns[2],
        values=tuple(columns[3:]),
        resource=tuple(sorted(profile.resource, key=lambda item: item[0])),
        losses=tuple(sorted(loss for loss in profile.losses if loss[1])),
    )


def _sorted(used: dict[int, _Row], null: _Row) -> tuple[tuple[_Row, ...], dict[int, int]]:
    """A table of the rows that are used, sorted, and where in it each of them is."""
    rest = sorted(set(used.values()) - {null})
    table = (null, *rest)
    number = {row: index for index, row in enumerate(table)}
    return table, {index: number[row] for index, row in used.items()}


def means_same(one: Profile, other: Profile) -> bool:
    """Whether two profiles say the same, whatever the order and numbers of their tables and rows."""
    one, other = canonical(one), canonical(other)
    # As text, because True, 1 and 1.0 are equal, but not the same attribute, and NaN is not even itself.
    if repr(one.resource) != repr(other.resource):
        return False
    return replace(one, resource=()) == replace(other, resource=())


@dataclass(frozen=True, slots=True)
class Difference:
    """Two profiles of one kind, row beside row.

    Attributes:
        before, after: with the same tables and the same rows in the same order; a row that only the other one had
            is zero here. They keep their own window, period, resource and losses.
    """

    before: Profile
    after: Profile

    def __len__(self) -> int:
        return len(self.before)

    def changes(self) -> tuple[tuple[int, ...], ...]:
        """For each value type, after minus before by row. Windows may differ in length: nothing is scaled."""
        return tuple(
            tuple(new - old for old, new in zip(*columns, strict=True))
            for columns in zip(self.before.values, self.after.values, strict=True)
        )


def difference(before: Profile, after: Profile) -> Difference:
    """What changed, by stack and labels. Spans are left out: no two windows have one in common.

    Raises:
        ValueError: the profiles are of different kinds or value types.
    """
    if (before.kind, before.value_types) != (after.kind, after.value_types):
        raise ValueError(
            f"a {before.kind} profile of {_names(before)} has no difference to "
            f"a {after.kind} profile of {_names(after)}"
        )
    width = len(before.value_types)
    builder = ProfileBuilder((*before.value_types, *after.value_types))
    builder.add_profile(_without_links(before), range(width))
    builder.add_profile(_without_links(after), range(width, 2 * width))
    both = builder.in_place_of(before)
    return Difference(
        before=_with_rows(before, both, both.values[:width]),
        after=_with_rows(after, both, both.values[width:]),
    )


def _without_links(profile: Profile) -> Profile:
    tables = replace(profile.tables, links=(NO_LINK,))
    return replace(profile, tables=tables, link=(0,) * len(profile))


def _with_rows(profile: Profile, rows: Profile, values: Iterable[tuple[int, ...]]) -> Profile:
    return replace(
        profile,
        tables=rows.tables,
        stack=rows.stack,
        link=rows.link,
        labels=rows.labels,
        values=tuple(values),
    )


def _names(profile: Profile) -> str:
    return ", ".join(f"{value_type.type}/{value_type.unit}" for value_type in profile.value_types)
