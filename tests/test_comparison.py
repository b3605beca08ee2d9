from dataclasses import replace

import pytest

from otelprof.comparison import canonical, difference, means_same
from otelprof.model import Attributes, Profile
from tests.support.generated import generated, reworded
from tests.support.profiles import (
    LEAF,
    MIDDLE,
    OTHER_SPAN,
    ROOT,
    SPAN,
    START_UNIX_NS,
    profile_of,
    row,
    rows_of,
)

BEFORE = profile_of(
    row(LEAF, ROOT, values=(2, 20), link=SPAN, thread_name="main"),
    row(LEAF, ROOT, values=(1, 10), link=OTHER_SPAN, thread_name="main"),
    row(ROOT, values=(4, 40)),
)
AFTER = replace(
    profile_of(
        row(MIDDLE, ROOT, values=(5, 50)),
        row(LEAF, ROOT, values=(1, 9), thread_name="main"),
    ),
    start_unix_ns=START_UNIX_NS + 1,
)
SEEDS = range(30)


class TestMeaning:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_does_not_depend_on_order_numbers_or_what_no_row_names(self, seed: int) -> None:
        profile = generated(seed)
        other = reworded(profile, seed)
        assert other.problem() is None
        assert other != profile
        assert means_same(profile, other)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_canonical_profile_is_valid_and_says_the_same(self, seed: int) -> None:
        profile = generated(seed)
        assert canonical(profile).problem() is None
        assert sorted(rows_of(canonical(profile))) == sorted(rows_of(profile))

    def test_a_canonical_profile_is_its_own(self) -> None:
        assert canonical(canonical(BEFORE)) == canonical(BEFORE)

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(replace(BEFORE, kind="wall"), id="kind"),
            pytest.param(replace(BEFORE, start_unix_ns=1), id="begin"),
            pytest.param(replace(BEFORE, period=1), id="period"),
            pytest.param(replace(BEFORE, profile_id=b"\x09" * 16), id="id"),
            pytest.param(replace(BEFORE, losses=(("torn", 1),)), id="losses"),
            pytest.param(replace(BEFORE, values=((2, 1, 4), (20, 10, 41))), id="a value"),
            pytest.param(replace(BEFORE, values=((1, 2, 4), (10, 20, 40))), id="whose value"),
            pytest.param(replace(BEFORE, link=(0, *BEFORE.link[1:])), id="a span"),
            pytest.param(replace(BEFORE, labels=(0, *BEFORE.labels[1:])), id="labels"),
            pytest.param(replace(BEFORE, stack=(2, *BEFORE.stack[1:])), id="a stack"),
        ],
    )
    def test_changes_with(self, other: Profile) -> None:
        assert not means_same(BEFORE, other)

    def test_a_number_is_no_truth(self) -> None:
        one: Attributes = (("canary", 1),)
        true: Attributes = (("canary", True),)
        assert not means_same(replace(BEFORE, resource=one), replace(BEFORE, resource=true))


class TestDifference:
    def test_is_by_stack_and_labels_whatever_the_span(self) -> None:
        both = difference(BEFORE, AFTER)
        assert len(both) == 3
        assert rows_of(both.before) == [
            row(LEAF, ROOT, values=(3, 30), thread_name="main"),
            row(ROOT, values=(4, 40)),
            row(MIDDLE, ROOT, values=(0, 0)),
        ]
        assert rows_of(both.after) == [
            row(LEAF, ROOT, values=(1, 9), thread_name="main"),
            row(ROOT, values=(0, 0)),
            row(MIDDLE, ROOT, values=(5, 50)),
        ]

    def test_changes_are_after_minus_before(self) -> None:
        assert difference(BEFORE, AFTER).changes() == ((-2, -4, 5), (-21, -40, 50))

    def test_changes_of_a_profile_to_itself_are_none(self) -> None:
        assert difference(BEFORE, reworded(BEFORE, 1)).changes() == ((0, 0), (0, 0))

    def test_both_are_valid_and_keep_what_is_their_own(self) -> None:
        both = difference(BEFORE, AFTER)
        assert (both.before.problem(), both.after.problem()) == (None, None)
        assert both.before.start_unix_ns == BEFORE.start_unix_ns
        assert both.after.start_unix_ns == AFTER.start_unix_ns
        assert both.before.tables is both.after.tables

    @pytest.mark.parametrize("seed", SEEDS)
    def test_no_value_is_lost(self, seed: int) -> None:
        before, after = generated(seed), generated(seed + 1)
        totals = [
            tuple(sum(new) - sum(old) for old, new in zip(before.values, after.values, strict=True))
        ]
        assert [tuple(map(sum, difference(before, after).changes()))] == totals

    def test_kinds_that_differ_have_none(self) -> None:
        wall = profile_of(row(ROOT, values=(1, 10)), kind="wall")
        with pytest.raises(ValueError, match=r"a cpu profile of .*cpu/nanoseconds has no diff"):
            difference(BEFORE, wall)
