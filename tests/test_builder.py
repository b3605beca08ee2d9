from dataclasses import replace

import pytest

from otelprof.builder import ProfileBuilder, merged
from otelprof.model import KINDS, NO_LINK, Producer, Profile, ValueType
from tests.support.profiles import (
    DURATION_NS,
    LEAF,
    MIDDLE,
    OTHER_SPAN,
    ROOT,
    SPAN,
    START_UNIX_NS,
    Row,
    profile_of,
    row,
    rows_of,
)

MONDAY = profile_of(
    row(LEAF, ROOT, values=(2, 20), link=SPAN, thread_name="main"),
    row(ROOT, values=(1, 10)),
)
# The same words in another order, so that every table numbers them otherwise.
TUESDAY = replace(
    profile_of(
        row(ROOT, values=(3, 30)),
        row(MIDDLE, ROOT, values=(4, 40), link=OTHER_SPAN),
        row(LEAF, ROOT, values=(5, 50), link=SPAN, thread_name="main"),
    ),
    start_unix_ns=START_UNIX_NS + DURATION_NS,
    profile_id=b"\x02" * 16,
)
WALL = profile_of(row(ROOT, values=(7, 70)), kind="wall")


def built(builder: ProfileBuilder) -> Profile:
    return builder.build(
        kind="cpu",
        start_unix_ns=1,
        duration_ns=2,
        period_type=KINDS["cpu"][1],
        period=3,
    )


class TestInterning:
    def test_row_0_of_every_table_is_null(self) -> None:
        builder = ProfileBuilder(KINDS["cpu"])
        assert builder.frame("", "", 0, 0) == 0
        assert builder.stack([]) == 0
        assert builder.link(NO_LINK) == 0
        assert builder.label_set({}) == 0

    def test_equal_frames_are_one_row(self) -> None:
        builder = ProfileBuilder(KINDS["cpu"])
        assert builder.frame(*LEAF) == builder.frame(*LEAF)
        assert len(builder.tables().frames) == 2

    def test_two_lines_of_a_function_are_two_frames_and_one_function(self) -> None:
        builder = ProfileBuilder(KINDS["cpu"])
        assert builder.frame(*LEAF) != builder.frame(*LEAF._replace(line=8))
        assert len(builder.tables().functions) == 2

    def test_two_columns_of_a_line_are_two_frames_and_one_function(self) -> None:
        builder = ProfileBuilder(KINDS["cpu"])
        assert builder.frame(*LEAF) != builder.frame(*LEAF._replace(column=30))
        assert len(builder.tables().functions) == 2

    def test_functions_that_start_at_different_lines_are_two(self) -> None:
        builder = ProfileBuilder(KINDS["cpu"])
        builder.frame(*LEAF)
        builder.frame(*LEAF._replace(start_line=6))
        assert len(builder.tables().functions) == 3

    def test_stacks_differ_by_the_order_of_their_frames(self) -> None:
        builder = ProfileBuilder(KINDS["cpu"])
        leaf, root = builder.frame(*LEAF), builder.frame(*ROOT)
        assert builder.stack([leaf, root]) != builder.stack([root, leaf])
        assert builder.stack(iter([leaf, root])) == builder.stack([leaf, root])

    def test_spans_differ_by_their_local_root(self) -> None:
        builder = ProfileBuilder(KINDS["cpu"])
        assert builder.link(SPAN) == builder.link(SPAN)
        assert builder.link(SPAN) != builder.link(SPAN._replace(local_root_span_id=b""))

    def test_label_sets_do_not_differ_by_the_order_of_their_labels(self) -> None:
        builder = ProfileBuilder(KINDS["cpu"])
        assert builder.label_set({"a": "1", "b": "2"}) == builder.label_set({"b": "2", "a": "1"})
        assert builder.label_set({"a": "1"}) != builder.label_set({"a": "2"})


class TestRows:
    def test_rows_that_say_the_same_are_added_up(self) -> None:
        twice = row(LEAF, ROOT, values=(1, 10), link=SPAN, thread_name="main")
        assert rows_of(profile_of(twice, twice)) == [twice._replace(values=(2, 20))]

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(row(ROOT, values=(1, 10), link=SPAN, thread_name="main"), id="stack"),
            pytest.param(
                row(LEAF._replace(column=30), values=(1, 10), link=SPAN, thread_name="main"),
                id="column",
            ),
            pytest.param(row(LEAF, values=(1, 10), link=OTHER_SPAN, thread_name="main"), id="link"),
            pytest.param(row(LEAF, values=(1, 10), link=SPAN, thread_name="other"), id="labels"),
        ],
    )
    def test_rows_stay_apart_that_differ_only_in_their(self, other: Row) -> None:
        one = row(LEAF, values=(1, 10), link=SPAN, thread_name="main")
        assert rows_of(profile_of(one, other)) == [one, other]

    def test_rows_keep_the_order_in_which_they_came(self) -> None:
        rows = [row(place, values=(1, 10)) for place in (ROOT, LEAF, MIDDLE)]
        assert rows_of(profile_of(*rows, rows[0])) == [
            rows[0]._replace(values=(2, 20)),
            rows[1],
            rows[2],
        ]

    def test_without_rows_every_column_is_there_and_empty(self) -> None:
        profile = built(ProfileBuilder(KINDS["cpu"]))
        assert (profile.stack, profile.link, profile.labels) == ((), (), ())
        assert profile.values == ((), ())
        assert profile.problem() is None

    def test_what_was_built_does_not_change_with_the_builder(self) -> None:
        builder = ProfileBuilder(KINDS["cpu"])
        builder.add(builder.stack([builder.frame(*LEAF)]), 0, 0, (1, 10))
        before = built(builder)
        builder.add(builder.stack([builder.frame(*ROOT)]), 0, 0, (2, 20))
        assert rows_of(before) == [row(LEAF, values=(1, 10))]
        assert len(built(builder)) == 2


class TestAddProfile:
    def test_columns_go_where_they_are_sent(self) -> None:
        builder = ProfileBuilder([ValueType("cpu", "nanoseconds"), ValueType("samples", "count")])
        builder.add_profile(MONDAY, [1, 0])
        assert [r.values for r in rows_of(built(builder))] == [(20, 2), (10, 1)]

    def test_a_column_that_is_sent_nowhere_is_left_out(self) -> None:
        builder = ProfileBuilder([ValueType("cpu", "nanoseconds")])
        builder.add_profile(MONDAY, [-1, 0])
        assert [r.values for r in rows_of(built(builder))] == [(20,), (10,)]

    def test_a_column_that_nothing_is_sent_to_is_zero(self) -> None:
        builder = ProfileBuilder((*KINDS["cpu"], ValueType("wall", "nanoseconds")))
        builder.add_profile(MONDAY, [0, 1])
        builder.add_profile(WALL, [-1, 2])
        assert rows_of(built(builder)) == [
            row(LEAF, ROOT, values=(2, 20, 0), link=SPAN, thread_name="main"),
            row(ROOT, values=(1, 10, 70)),
        ]

    def test_two_columns_that_are_sent_to_one_are_added_up(self) -> None:
        builder = ProfileBuilder([ValueType("sum", "count")])
        builder.add_profile(MONDAY, [0, 0])
        assert [r.values for r in rows_of(built(builder))] == [(22,), (11,)]

    def test_tables_are_renumbered_to_what_the_builder_has(self) -> None:
        builder = ProfileBuilder(KINDS["cpu"])
        builder.frame(*MIDDLE)
        builder.add_profile(MONDAY, [0, 1])
        profile = built(builder)
        assert rows_of(profile) == rows_of(MONDAY)
        assert profile.tables.frames != MONDAY.tables.frames
        assert profile.problem() is None


class TestMerged:
    def test_values_of_the_same_row_are_added_up(self) -> None:
        (profile,) = merged([MONDAY, TUESDAY])
        assert rows_of(profile) == [
            row(LEAF, ROOT, values=(7, 70), link=SPAN, thread_name="main"),
            row(ROOT, values=(4, 40)),
            row(MIDDLE, ROOT, values=(4, 40), link=OTHER_SPAN),
        ]

    def test_rows_of_two_columns_of_a_line_stay_two(self) -> None:
        other = LEAF._replace(column=30)
        one, two = (profile_of(row(place, values=(1, 10))) for place in (LEAF, other))
        (profile,) = merged([one, two, one])
        assert rows_of(profile) == [row(LEAF, values=(2, 20)), row(other, values=(1, 10))]

    def test_the_result_is_valid(self) -> None:
        assert [p.problem() for p in merged([MONDAY, TUESDAY, WALL])] == [None, None]

    def test_no_order_changes_a_sum(self) -> None:
        (forth,) = merged([MONDAY, TUESDAY])
        (back,) = merged([TUESDAY, MONDAY])
        assert sorted(rows_of(forth)) == sorted(rows_of(back))

    def test_the_window_is_the_hull_of_the_windows(self) -> None:
        (profile,) = merged([TUESDAY, MONDAY])
        assert profile.start_unix_ns == START_UNIX_NS
        assert profile.duration_ns == 2 * DURATION_NS

    def test_a_window_inside_another_does_not_shorten_it(self) -> None:
        inner = replace(MONDAY, start_unix_ns=START_UNIX_NS + 1, duration_ns=1)
        (profile,) = merged([MONDAY, inner])
        assert profile.start_unix_ns == START_UNIX_NS
        assert profile.duration_ns == DURATION_NS

    def test_losses_are_added_up_by_reason(self) -> None:
        one = replace(MONDAY, losses=(("overflow", 1), ("truncated", 2)))
        two = replace(TUESDAY, losses=(("truncated", 3), ("span_unknown", 4)))
        (profile,) = merged([one, two])
        assert profile.losses == (("overflow", 1), ("truncated", 5), ("span_unknown", 4))

    def test_resource_producer_and_id_are_those_of_the_first(self) -> None:
        one = replace(MONDAY, resource=(("host", "a"),), producer=Producer("1", "python"))
        two = replace(TUESDAY, resource=(("host", "b"),), producer=Producer("2", "core"))
        (profile,) = merged([one, two])
        assert profile.resource == (("host", "a"),)
        assert profile.producer == Producer("1", "python")
        assert profile.profile_id == MONDAY.profile_id

    def test_a_profile_alone_is_handed_through(self) -> None:
        assert merged([MONDAY])[0] is MONDAY

    def test_nothing_is_merged_to_nothing(self) -> None:
        assert merged([]) == []

    def test_cpu_counted_in_different_periods_is_counted_in_the_latest(self) -> None:
        ns = 1_000_000
        early = profile_of(row(LEAF, values=(2, 20 * ns)), row(ROOT, values=(1, 10 * ns)))
        late = profile_of(row(LEAF, values=(6, 31 * ns)), row(MIDDLE, values=(1, 4 * ns)))
        late = replace(late, period=5 * ns, start_unix_ns=START_UNIX_NS + DURATION_NS)
        for group in ([early, late], [late, early]):
            (profile,) = merged(group)
            assert profile.period == 5 * ns
            assert {r.places: r.values[1] for r in rows_of(profile)} == {
                (LEAF,): 51 * ns,
                (ROOT,): 10 * ns,
                (MIDDLE,): 4 * ns,
            }
            assert sum(profile.column("samples")) == 65 // 5
            assert profile.problem() is None

    def test_cpu_without_counts_has_none_to_count_again(self) -> None:
        one = profile_of(row(ROOT, values=(30,)), value_types=(ValueType("cpu", "nanoseconds"),))
        (profile,) = merged([one, replace(one, period=7)])
        assert rows_of(profile) == [row(ROOT, values=(60,))]

    def test_counts_of_one_period_are_left_as_they_are(self) -> None:
        (profile,) = merged([MONDAY, TUESDAY])
        assert sum(profile.column("samples")) * profile.period != sum(profile.column("cpu"))
        assert sum(profile.column("samples")) == 15

    def test_what_was_seen_at_different_rates_is_added_up(self) -> None:
        (wall,) = merged([WALL, replace(WALL, period=20_000_000)])
        assert rows_of(wall) == [row(ROOT, values=(14, 140))]

    def test_counts_alone_of_different_periods_stay_apart(self) -> None:
        types = (ValueType("samples", "count"),)
        one = profile_of(row(ROOT, values=(3,)), value_types=types)
        two = replace(one, period=2 * one.period)
        assert merged([one, two]) == [one, two]

    def test_kinds_keep_their_order(self) -> None:
        assert [p.kind for p in merged([WALL, MONDAY, WALL, TUESDAY])] == ["wall", "cpu"]

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(replace(MONDAY, kind="heap"), id="kind"),
            pytest.param(replace(MONDAY, period_type=ValueType("x", "count")), id="period type"),
            pytest.param(
                replace(MONDAY, value_types=(MONDAY.value_types[0], ValueType("x", "count"))),
                id="value types",
            ),
        ],
    )
    def test_profiles_stay_apart_that_differ_in_their(self, other: Profile) -> None:
        assert merged([MONDAY, other]) == [MONDAY, other]
