"""What both ends can hold comes back."""

from dataclasses import replace

import pytest

from otelprof.comparison import means_same
from otelprof.formats import otlp, pprof
from otelprof.model import Profile
from tests.support.generated import generated, reworded

SEEDS = range(40)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["cpu", "wall", "heap"])
class TestEverything:
    def test_comes_back_from_otlp_in_full(self, seed: int, kind: str) -> None:
        profile = generated(seed, kind=kind)
        (decoded,) = otlp.decode(otlp.encode([reworded(profile, seed)], full=True))
        assert means_same(decoded, profile)

    def test_that_pprof_can_hold_comes_back_from_it(self, seed: int, kind: str) -> None:
        profile = as_in_pprof(generated(seed, kind=kind))
        (decoded,) = pprof.decode(pprof.encode([reworded(profile, seed)]))
        assert means_same(decoded, profile)


@pytest.mark.parametrize("seed", SEEDS)
def test_several_profiles_come_back_from_one_request(seed: int) -> None:
    profiles = [generated(3 * seed + n, kind=kind) for n, kind in enumerate(["cpu", "wall", "cpu"])]
    decoded = otlp.decode(otlp.encode(profiles, full=True))
    assert len(decoded) == len(profiles)
    for profile in profiles:
        assert any(means_same(profile, other) for other in decoded)


def as_in_pprof(profile: Profile) -> Profile:
    """Without an id, with a resource of texts only: pprof has comments."""
    resource = tuple((key, str(value)) for key, value in profile.resource)
    return replace(profile, profile_id=b"", resource=resource)
