"""Parts of profiles: they fit, they add up, and they are the same each time."""

import gzip
from dataclasses import replace

import pytest

from otelprof.exporters.splitting import LIMITS, Limits, parts_of, requests_of, size_bound
from otelprof.formats import otlp, pprof
from otelprof.model import PROFILE_ID_BYTES, Profile
from tests.support.profiles import LEAF, ROOT, Place, cpu_and_wall, profile_of, row
from tests.support.random_profiles import counted_rows, random_profile

NO_LIMITS = Limits(max_bytes=10**9, max_samples=10**9)


def real_bytes(profile: Profile) -> int:
    """The larger of the two encodings, not compressed."""
    in_pprof = len(gzip.decompress(pprof.encode([profile])))
    return max(in_pprof, len(otlp.encode([profile])))


PROFILES = [
    *cpu_and_wall(),
    profile_of(),
    random_profile(1, depth=2),
    random_profile(2_000, depth=3, spans=2_000),
    random_profile(3_000, depth=100, kind="wall"),
    random_profile(300, depth=30, spans=0),
]


class TestBound:
    @pytest.mark.parametrize("profile", PROFILES)
    def test_is_never_less_than_what_leaves(self, profile: Profile) -> None:
        assert size_bound(profile) >= real_bytes(profile)

    @pytest.mark.parametrize("profile", [p for p in PROFILES if len(p) > 100])
    def test_is_not_much_more(self, profile: Profile) -> None:
        assert size_bound(profile) < 2.5 * real_bytes(profile)


class TestParts:
    @pytest.mark.parametrize("profile", PROFILES)
    def test_of_what_fits_is_itself(self, profile: Profile) -> None:
        (part,) = parts_of(profile, NO_LIMITS)
        assert part is profile

    @pytest.mark.parametrize(
        ("limits", "rows", "depth"),
        [
            (LIMITS, 17_000, 4),
            (LIMITS, 4_000, 200),
            (Limits(100_000, 16_000), 2_000, 5),
            (Limits(100_000, 16_000), 500, 90),
            (Limits(10**9, 700), 2_000, 5),
            (Limits(60_000, 50), 1_000, 30),
        ],
    )
    def test_fit_and_add_up(self, limits: Limits, rows: int, depth: int) -> None:
        profile = random_profile(rows, depth=depth)
        parts = parts_of(profile, limits)
        assert len(parts) > 1
        for part in parts:
            assert part.problem() is None
            assert len(part) <= limits.max_samples
            assert real_bytes(part) <= limits.max_bytes
        assert counted_rows(*parts) == counted_rows(profile)

    def test_are_as_few_as_the_samples_need(self) -> None:
        parts = parts_of(random_profile(1_000, depth=3), Limits(10**9, 250))
        assert [len(part) for part in parts] == [250] * 4

    def test_say_what_the_whole_says(self) -> None:
        profile = random_profile(100, depth=3)
        for part in parts_of(profile, Limits(10**9, 30)):
            described = replace(
                part,
                **{
                    name: getattr(profile, name)
                    for name in ("tables", "stack", "link", "labels", "values", "losses")
                },
                profile_id=profile.profile_id,
            )
            assert described == profile

    def test_count_losses_once(self) -> None:
        profile = random_profile(100, depth=3)
        losses = [part.losses for part in parts_of(profile, Limits(10**9, 30))]
        assert losses == [profile.losses, (), (), ()]

    def test_have_ids_of_their_own_that_are_always_the_same(self) -> None:
        profile = random_profile(100, depth=3)
        ids = [part.profile_id for part in parts_of(profile, Limits(10**9, 30))]
        again = [part.profile_id for part in parts_of(profile, Limits(10**9, 30))]
        other = replace(profile, profile_id=bytes(15) + b"\x01")
        others = [part.profile_id for part in parts_of(other, Limits(10**9, 30))]
        assert ids == again
        assert len({*ids, *others, profile.profile_id}) == 9
        assert {len(each) for each in ids} == {PROFILE_ID_BYTES}

    def test_of_a_profile_without_id_have_none(self) -> None:
        profile = replace(random_profile(100, depth=3), profile_id=b"")
        assert {part.profile_id for part in parts_of(profile, Limits(10**9, 30))} == {b""}

    def test_a_row_that_is_too_large_is_a_part_of_its_own(self) -> None:
        long = Place("f" * 5_000, "/srv/long.py", 1, 1)
        profile = profile_of(
            row(LEAF, ROOT, values=(1, 10)), row(long, values=(2, 20)), row(ROOT, values=(3, 30))
        )
        parts = parts_of(profile, Limits(3_000, 100))
        assert [part.column("cpu") for part in parts] == [(10,), (20,), (30,)]


class TestRequests:
    def test_hold_as_many_profiles_as_fit(self) -> None:
        profiles = [random_profile(100, depth=3, seed=seed) for seed in range(7)]
        limit = 3 * max(map(size_bound, profiles))
        requests = list(requests_of(profiles, Limits(limit, 1_000)))
        assert [[part.whole for part in request] for request in requests] == [
            [0, 1, 2],
            [3, 4, 5],
            [6],
        ]

    def test_hold_one_where_the_receiver_wants_it(self) -> None:
        profiles = cpu_and_wall()
        requests = list(requests_of(profiles, LIMITS._replace(max_profiles=1)))
        assert [[part.profile for part in request] for request in requests] == [
            [profile] for profile in profiles
        ]

    def test_of_nothing_are_none(self) -> None:
        assert list(requests_of([], LIMITS)) == []

    def test_never_are_larger_than_the_limit(self) -> None:
        profiles = [random_profile(size, depth=20, seed=size) for size in (10, 4_000, 10, 900)]
        requests = list(requests_of(profiles, Limits(100_000, 16_000)))
        for request in requests:
            parts = [part.profile for part in request]
            assert len(otlp.encode(parts)) <= 100_000
        wholes = [part.whole for request in requests for part in request]
        assert wholes == sorted(wholes)
        assert set(wholes) == {0, 1, 2, 3}
