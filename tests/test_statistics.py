import pytest

from otelprof.statistics import statistics
from tests.support.generated import generated, reworded
from tests.support.profiles import LEAF, MIDDLE, OTHER_SPAN, ROOT, SPAN, profile_of, row

PROFILE = profile_of(
    row(LEAF, MIDDLE, ROOT, values=(3, 30), link=SPAN, thread_name="main"),
    row(LEAF._replace(column=40), ROOT, values=(1, 10), link=OTHER_SPAN),
    row(LEAF, MIDDLE, ROOT, values=(2, 20), link=OTHER_SPAN),
    row(ROOT, values=(1, 5)),
)


def test_totals_are_sums_by_value_type() -> None:
    assert list(statistics(PROFILE).totals.values()) == [7, 65]
    assert list(statistics(PROFILE).totals) == list(PROFILE.value_types)


def test_what_rows_name_is_counted_once() -> None:
    found = statistics(PROFILE)
    assert found.rows == 4
    assert found.functions == 3
    assert found.frames == 4
    assert found.stacks == 3
    assert found.links == 2
    assert found.label_sets == 1


@pytest.mark.parametrize("seed", range(10))
def test_what_no_row_names_is_not_counted(seed: int) -> None:
    profile = generated(seed)
    assert statistics(reworded(profile, seed)) == statistics(profile)


def test_depths_count_stacks() -> None:
    found = statistics(PROFILE)
    assert found.depths == ((1, 1), (2, 1), (3, 1))
    assert found.max_depth == 3


@pytest.mark.parametrize(("share", "depth"), [(0.01, 1), (0.5, 2), (2 / 3, 2), (0.9, 3), (1, 3)])
def test_a_share_of_the_stacks_is_not_deeper_than(share: float, depth: int) -> None:
    assert statistics(PROFILE).depth_of(share) == depth


@pytest.mark.parametrize("share", [0, -1, 1.1])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="is not above 0 to 1"):
        statistics(PROFILE).depth_of(share)


def test_an_empty_profile_has_nothing() -> None:
    found = statistics(profile_of())
    assert (found.rows, found.stacks, found.max_depth, found.depth_of(0.5)) == (0, 0, 0, 0)
    assert list(found.totals.values()) == [0, 0]
