import pytest

from otelprof.formats.canonical import canonical
from otelprof.model import Profile
from tests.support.odd_profiles import odd, shuffled
from tests.support.profiles import LEAF, ROOT, cpu_and_wall, places_of, profile_of, row, rows_of

CPU, WALL = cpu_and_wall()
PROFILES = {"cpu": CPU, "wall": WALL, "odd": odd(), "no rows": profile_of()}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
class TestEveryProfile:
    def test_is_the_same_in_whatever_order_it_was_made(self, profile: Profile) -> None:
        mixed = shuffled(profile)
        assert mixed.problem() is None
        assert canonical(mixed) == canonical(profile)

    def test_is_valid_and_canonical_already_the_second_time(self, profile: Profile) -> None:
        once = canonical(profile)
        assert once.problem() is None
        assert canonical(once) == once

    def test_keeps_every_sum(self, profile: Profile) -> None:
        assert list(map(sum, canonical(profile).values)) == list(map(sum, profile.values))


def test_keeps_what_is_sampled() -> None:
    assert sorted(rows_of(canonical(CPU))) == sorted(rows_of(CPU))


def test_stacks_are_sorted_from_the_root_on() -> None:
    profile = canonical(profile_of(row(ROOT, LEAF, values=(1, 1)), row(LEAF, ROOT, values=(1, 1))))
    stacks = [places_of(profile, stack)[::-1] for stack in profile.stack]
    assert stacks == [(LEAF, ROOT), (ROOT, LEAF)]


def test_table_rows_that_no_sample_uses_are_gone() -> None:
    assert "unused" not in canonical(shuffled(CPU)).tables.strings


def test_names_that_are_the_same_in_utf_8_are_one() -> None:
    surrogate, escaped = (LEAF._replace(function=name) for name in ("\udcff", r"\udcff"))
    profile = canonical(profile_of(row(surrogate, values=(1, 2)), row(escaped, values=(3, 4))))
    assert profile.values == ((4,), (6,))
