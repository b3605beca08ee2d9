"""Changes of whole tables, against the same done row by row."""

import random
from collections import Counter
from collections.abc import Iterable

import pytest

from otelprof.model import NO_LINK, Profile
from otelprof.processors.tables import added_up, label_sets_of, samples_of, with_rows, with_texts
from tests.support.profiles import OTHER_SPAN, SPAN, Place, Row, profile_of, row, rows_of

SEEDS = range(40)


def some_profile(chance: random.Random) -> Profile:
    """With few functions, so that many become the same when their texts do."""
    places = [
        Place(f"f{chance.randrange(5)}", f"/{chance.choice('abc')}.py", 1, chance.randrange(1, 3))
        for _ in range(8)
    ]
    rows = [
        row(
            *chance.choices(places, k=chance.randrange(1, 5)),
            values=(chance.randrange(5), chance.randrange(100)),
            link=chance.choice([NO_LINK, SPAN, OTHER_SPAN]),
            **{key: chance.choice("xyz") for key in chance.sample("kl", chance.randrange(3))},
        )
        for _ in range(chance.randrange(1, 30))
    ]
    return profile_of(*rows)


def summed(rows: Iterable[Row]) -> "dict[object, Counter[int]]":
    """The values of rows that say the same, by column."""
    sums: dict[object, Counter[int]] = {}
    for each in rows:
        of_key = sums.setdefault((each.places, each.link, each.labels), Counter())
        of_key.update(dict(enumerate(each.values)))
    return sums


@pytest.mark.parametrize("seed", SEEDS)
def test_other_texts(seed: int) -> None:
    chance = random.Random(seed)
    profile = some_profile(chance)
    names = {f"f{n}": f"g{n // chance.choice([1, 2])}" for n in range(5)}
    files = {f"/{name}.py": chance.choice(["/a.py", f"/{name}.py"]) for name in "abc"}
    values = {name: chance.choice(["x", name]) for name in "xyz"}
    added = dict(chance.sample([("m", "x"), ("k", "z")], chance.randrange(3)))

    def changed(labels: Iterable[tuple[str, str]]) -> dict[str, str]:
        return added | {key: values[value] for key, value in labels}

    left = with_texts(
        profile,
        lambda name, filename: (names[name], files[filename]),
        [changed(labels.items()) for labels in label_sets_of(profile)],
    )
    assert left.problem() is None
    assert summed(rows_of(left)) == summed(
        each._replace(
            places=tuple(
                p._replace(function=names[p.function], filename=files[p.filename])
                for p in each.places
            ),
            labels=tuple(sorted(changed(each.labels).items())),
        )
        for each in rows_of(profile)
    )
    used = {
        "",
        *names.values(),
        *files.values(),
        *values.values(),
        "k",
        "l",
        *added,
        *added.values(),
    }
    assert set(left.tables.strings) <= used


@pytest.mark.parametrize("seed", SEEDS)
def test_fewer_rows(seed: int) -> None:
    chance = random.Random(seed)
    profile = some_profile(chance)
    keep = [chance.random() < 0.4 for _ in range(len(profile))]
    left = with_rows(profile, keep)
    assert left.problem() is None
    kept = [each for each, is_kept in zip(rows_of(profile), keep, strict=True) if is_kept]
    assert rows_of(left) == kept
    assert samples_of(left) == samples_of(profile, keep) == sum(each.values[0] for each in kept)
    # As if the others had never been there: no table holds anything of them.
    again = profile_of(*kept)
    sizes = [
        [
            len(table)
            for table in (t.strings, t.functions, t.frames, t.stacks, t.links, t.label_sets)
        ]
        for t in (left.tables, again.tables)
    ]
    assert sizes[0] == sizes[1]


def test_what_is_different_already_stays_as_it_is() -> None:
    profile = some_profile(random.Random(1))
    assert added_up(profile) == profile
