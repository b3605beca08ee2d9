"""Profiles with other texts or with fewer rows, made table by table: each function, label set and stack once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, compress

from otelprof.builder import ProfileBuilder
from otelprof.model import COUNT, Frame, Function, LabelSet, Profile, Tables

# A function's name and file, and what becomes of them.
RenameFunction = Callable[[str, str], tuple[str, str]]


def with_texts(
    profile: Profile, rename: RenameFunction, label_sets: Sequence[Mapping[str, str]]
) -> Profile:
    """`profile` with what `rename` makes of each function, and with `label_sets`, one for each of its own.

    The first is for rows that have no labels.

    Its table of strings holds nothing else. O(functions, label sets and rows) as long as what was different
    stays different; what has become equal is added up, O(everything). The sum of each value column stays.
    """
    old = profile.tables
    strings = {"": 0}  # rows by text
    functions = [old.functions[0]]
    for function in old.functions[1:]:
        name, filename = rename(old.strings[function.name], old.strings[function.filename])
        functions.append(
            Function(
                strings.setdefault(name, len(strings)),
                strings.setdefault(filename, len(strings)),
                function.start_line,
            )
        )
    rows: dict[LabelSet, int] = {(): 0}
    number_of: list[int] = []
    for old_row, labels in enumerate(label_sets):
        items = sorted(labels.items()) if old_row or 0 in profile.labels else []
        label_set = tuple(
            (strings.setdefault(key, len(strings)), strings.setdefault(value, len(strings)))
            for key, value in items
        )
        number_of.append(rows.setdefault(label_set, len(rows)))
    changed = replace(
        profile,
        tables=replace(
            old,
            strings=tuple(strings),
            functions=tuple(functions),
            label_sets=tuple(rows),
        ),
        labels=tuple(map(number_of.__getitem__, profile.labels)),
    )
    are_all_different = len(set(functions)) == len(functions) and (
        len(set(number_of)) == len(number_of)
    )
    return changed if are_all_different else added_up(changed)


def added_up(profile: Profile) -> Profile:
    """`profile` with one row of a table, or of the columns, where several have come to say the same.

    Its tables may have doubles, which a valid profile's have not. O(everything); the sum of each value column stays.
    """
    builder = ProfileBuilder(profile.value_types)
    builder.add_profile(profile, range(len(profile.value_types)))
    return builder.in_place_of(profile)


def with_rows(profile: Profile, keep: Sequence[bool]) -> Profile:
    """`profile` with those rows only that `keep` says, and with nothing in its tables that they do not use."""
    return _without_unused(
        replace(
            profile,
            stack=tuple(compress(profile.stack, keep)),
            link=tuple(compress(profile.link, keep)),
            labels=tuple(compress(profile.labels, keep)),
            values=tuple(tuple(compress(column, keep)) for column in profile.values),
        )
    )


def samples_of(profile: Profile, rows: Sequence[bool] | None = None) -> int:
    """How many samples all rows or those in `rows` stand for: their first count, themselves if they have none."""
    for value_type, column in zip(profile.value_types, profile.values, strict=True):
        if value_type.unit == COUNT:
            return sum(column if rows is None else compress(column, rows))
    return len(profile) if rows is None else sum(rows)


def with_losses(profile: Profile, lost: Mapping[str, int]) -> Profile:
    """`profile` with `lost` added to its losses, by reason; a loss of nothing is none."""
    losses = dict(profile.losses)
    for reason, count in lost.items():
        if count:
            losses[reason] = losses.get(reason, 0) + count
    return replace(profile, losses=tuple(losses.items()))


def label_sets_of(profile: Profile) -> list[dict[str, str]]:
    """The label sets by row, as strings."""
    return [profile.tables.labels_of(row) for row in range(len(profile.tables.label_sets))]


def _without_unused(profile: Profile) -> Profile:
    """The tables without what no row leads to: what was taken away must not leave in them."""
    old = profile.tables
    stacks = _numbers(profile.stack)
    links = _numbers(profile.link)
    label_sets = _numbers(profile.labels)
    frames = _numbers(chain.from_iterable(old.stacks[row] for row in stacks))
    functions = _numbers(old.frames[row].function for row in frames)
    strings = _numbers(
        chain(
            chain.from_iterable(
                (old.functions[row].name, old.functions[row].filename) for row in functions
            ),
            chain.from_iterable(chain.from_iterable(old.label_sets[row] for row in label_sets)),
        )
    )
    frame = frames.__getitem__
    tables = Tables(
        strings=tuple(old.strings[row] for row in strings),
        functions=tuple(
            Function(strings[name], strings[filename], start_line)
            for name, filename, start_line in (old.functions[row] for row in functions)
        ),
        frames=tuple(
            Frame(functions[function], line, column)
            for function, line, column in (old.frames[row] for row in frames)
        ),
        stacks=tuple(tuple(map(frame, old.stacks[row])) for row in stacks),
        links=tuple(old.links[row] for row in links),
        label_sets=tuple(
            tuple((strings[key], strings[value]) for key, value in old.label_sets[row])
            for row in label_sets
        ),
    )
    return replace(
        profile,
        tables=tables,
        stack=tuple(map(stacks.__getitem__, profile.stack)),
        link=tuple(map(links.__getitem__, profile.link)),
        labels=tuple(map(label_sets.__getitem__, profile.labels)),
    )


def _numbers(used: Iterable[int]) -> dict[int, int]:
    """New row by old row, in the old order, the null row first."""
    return {old: new for new, old in enumerate(sorted({0, *used}))}
