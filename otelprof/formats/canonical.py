"""A profile in the one order that its meaning gives, so that equal profiles become equal bytes."""

from dataclasses import replace

from otelprof.builder import ProfileBuilder
from otelprof.formats.text import encodable
from otelprof.model import Profile, Tables

_Place = tuple[str, str, int, int, int]


def canonical(profile: Profile) -> Profile:
    """`profile` with sorted tables and rows, and without what no row uses.

    Frames are sorted by function, file, line and column; stacks by their frames from the root on; rows by stack, span
    and labels; the resource and the losses by name. Text is what UTF-8 can hold. O(n log n) in rows and frames.
    """
    tables = profile.tables
    places = [_place(tables, frame) for frame in range(len(tables.frames))]
    rank = {place: number for number, place in enumerate(sorted(set(places)))}
    # Stacks as ranks from the root on: numbers are cheaper to compare than names.
    stacks = [tuple(rank[places[frame]] for frame in reversed(stack)) for stack in tables.stacks]
    labels = [
        {encodable(key): encodable(value) for key, value in tables.labels_of(row).items()}
        for row in range(len(tables.label_sets))
    ]
    keys = {
        row: (stacks[stack], tables.links[link], sorted(labels[label_set].items()))
        for row, (stack, link, label_set) in enumerate(
            zip(profile.stack, profile.link, profile.labels, strict=True)
        )
    }
    used = {number for stack, _, _ in keys.values() for number in stack}
    builder = ProfileBuilder(profile.value_types)
    frames = {n: builder.frame(*place) for place, n in rank.items() if n in used}
    for row in sorted(keys, key=keys.__getitem__):
        stack, link, label_set = keys[row]
        builder.add(
            builder.stack(frames[number] for number in reversed(stack)),
            builder.link(link),
            builder.label_set(dict(label_set)),
            (column[row] for column in profile.values),
        )
    return replace(
        builder.in_place_of(profile),
        resource=tuple(sorted(profile.resource, key=lambda item: item[0])),
        losses=tuple(sorted(profile.losses)),
    )


def _place(tables: Tables, frame: int) -> _Place:
    function, line, column = tables.frames[frame]
    name, filename, start_line = tables.functions[function]
    strings = tables.strings
    return encodable(strings[name]), encodable(strings[filename]), start_line, line, column
