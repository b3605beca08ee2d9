"""How long to wait, by the strategy that is configured."""

import random

import pytest

from otelprof.backoff import Backoff, Growth, parse_backoff


def test_exponential_doubles_up_to_a_bound_and_is_never_in_step() -> None:
    random.seed(20_261_123)
    backoff, draws = Backoff(), 40
    for failures in range(1, 12):
        bound_s = min(backoff.most_s, backoff.first_s * 2 ** (failures - 1))
        waits_s = [backoff.wait_s(failures) for _ in range(draws)]
        assert (
            0 <= min(waits_s) < bound_s / 2 < max(waits_s) <= bound_s
        )  # odds against it: 2 ** -40
        assert len(set(waits_s)) > draws / 2


def test_after_days_of_failures_it_is_still_the_longest() -> None:
    assert Backoff().wait_s(100_000) <= 60.0


@pytest.mark.parametrize(
    ("growth", "waits_s"), [("linear", [2, 4, 6, 7, 7]), ("fixed", [2, 2, 2, 2, 2])]
)
def test_others_are_exact(growth: Growth, waits_s: list[float]) -> None:
    backoff = Backoff(growth, 2.0, 7.0)
    assert [backoff.wait_s(failures) for failures in range(1, 6)] == waits_s


@pytest.mark.parametrize(
    ("text", "backoff"),
    [
        ("exponential", Backoff()),
        ("linear:5s", Backoff("linear", 5.0, 60.0)),
        ("fixed:2m", Backoff("fixed", 120.0, 120.0)),
        ("exponential:500ms:30s", Backoff("exponential", 0.5, 30.0)),
    ],
)
def test_is_written_as_growth_first_and_longest(text: str, backoff: Backoff) -> None:
    assert parse_backoff(text) == backoff == parse_backoff(str(backoff))


@pytest.mark.parametrize(
    "text", ["", "random", "fixed:", "fixed:x", "linear:5s:1s", "fixed:1s:2s:3s", "exponential:-1s"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|shorter"):
        parse_backoff(text)
