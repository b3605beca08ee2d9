"""What is added, and that no label has too many values."""

from dataclasses import replace

import pytest

from otelprof.config import Config
from otelprof.model import Profile
from otelprof.processors.enrich import CAPPED, MAX_LABEL_VALUES, OTHER, Enricher, from_config
from tests.support.profiles import LEAF, ROOT, SPAN, cpu_and_wall, profile_of, row, rows_of

ADDED = (("region", "eu-1"), ("service.name", "ours"))


class TestResource:
    def test_gets_what_it_has_not(self) -> None:
        for profile in cpu_and_wall():
            left = Enricher(resource=ADDED).process(profile)
            assert left.resource == (*profile.resource, ("region", "eu-1"))
            assert replace(left, resource=profile.resource) == profile

    def test_with_all_of_it_stays(self) -> None:
        profile, _ = cpu_and_wall()
        assert Enricher(resource=ADDED[1:]).process(profile) is profile


class TestLabels:
    def test_are_added_to_every_sample_that_has_them_not(self) -> None:
        profile = profile_of(
            row(LEAF, ROOT, values=(1, 10), link=SPAN, thread_name="a"),
            row(LEAF, ROOT, values=(2, 20)),
            row(ROOT, values=(4, 40), region="own"),
        )
        left = Enricher(labels=[("region", "eu-1")]).process(profile)
        assert left.problem() is None
        assert rows_of(left) == [
            old._replace(labels=labels)
            for old, labels in zip(
                rows_of(profile),
                [
                    (("region", "eu-1"), ("thread_name", "a")),
                    (("region", "eu-1"),),
                    (("region", "own"),),
                ],
                strict=True,
            )
        ]
        assert left.losses == ()

    def test_that_make_samples_the_same_add_them_up(self) -> None:
        profile = profile_of(row(ROOT, values=(1, 10)), row(ROOT, values=(2, 20), region="eu-1"))
        left = Enricher(labels=[("region", "eu-1")]).process(profile)
        assert left.problem() is None
        assert [(r.values, r.labels) for r in rows_of(left)] == [((3, 30), (("region", "eu-1"),))]

    def test_come_from_the_configuration(self) -> None:
        config = Config(enrich_resource=(("zone", "b"),), enrich_labels=(("region", "eu-1"),))
        left = from_config(config).process(profile_of(row(ROOT, values=(1, 2))))
        assert left.resource == (("zone", "b"),)
        assert rows_of(left)[0].labels == (("region", "eu-1"),)

    def test_of_nothing_change_nothing(self) -> None:
        profile, _ = cpu_and_wall()
        assert Enricher().process(profile) is profile


class TestValues:
    @pytest.mark.parametrize("count", [1, 3])
    def test_up_to_the_limit_stay(self, count: int) -> None:
        profile = of_threads(count)
        assert Enricher(max_label_values=3).process(profile) == profile

    def test_beyond_it_are_one_and_counted(self) -> None:
        profile = of_threads(5)
        left = Enricher(max_label_values=3).process(profile)
        assert left.problem() is None
        by_label = {dict(r.labels)["thread_name"]: r.values for r in rows_of(left)}
        assert by_label == {"t0": (1, 10), "t1": (2, 20), "t2": (3, 30), OTHER: (9, 90)}
        assert left.losses == ((CAPPED, 9),)
        assert Enricher(max_label_values=3).process(profile) == left

    def test_are_counted_for_each_label(self) -> None:
        rows = [row(ROOT, values=(1, 1), a=str(n), b=str(n % 2)) for n in range(4)]
        left = Enricher(max_label_values=2).process(profile_of(*rows))
        assert [r.labels for r in rows_of(left)] == [
            (("a", "0"), ("b", "0")),
            (("a", "1"), ("b", "1")),
            (("a", OTHER), ("b", "0")),
            (("a", OTHER), ("b", "1")),
        ]

    def test_have_a_limit_from_the_start(self) -> None:
        left = from_config(Config()).process(of_threads(MAX_LABEL_VALUES + 2))
        values = {dict(r.labels)["thread_name"] for r in rows_of(left)}
        assert len(values) == MAX_LABEL_VALUES + 1
        assert dict(left.losses) == {CAPPED: 2 * MAX_LABEL_VALUES + 3}


def of_threads(count: int) -> Profile:
    rows = [row(ROOT, values=(n + 1, 10 * n + 10), thread_name=f"t{n}") for n in range(count)]
    return profile_of(*rows)
