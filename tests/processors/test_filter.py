"""Which samples leave, and that those that do not are counted."""

import pytest

from otelprof.config import Config
from otelprof.errors import ConfigError
from otelprof.model import ValueType
from otelprof.processors.filter import Filter, from_config
from tests.support.profiles import (
    LEAF,
    MIDDLE,
    OTHER_SPAN,
    ROOT,
    SPAN,
    Place,
    cpu_and_wall,
    profile_of,
    row,
    rows_of,
)

LIBRARY = Place("requests.api.get", "/srv/venv/lib/python3.11/site-packages/requests/api.py", 1, 5)
NAMELESS = Place("(between samples)", "", 0, 0)
PROFILE = profile_of(
    row(LEAF, MIDDLE, ROOT, values=(3, 30), link=SPAN, thread_name="MainThread"),
    row(LIBRARY, ROOT, values=(2, 20), link=OTHER_SPAN, thread_name="worker-1"),
    row(NAMELESS, values=(1, 11), thread_name="worker-2"),
)


def kept(include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> list[int]:
    """The counts of the rows that leave."""
    left = Filter(include, exclude).process(PROFILE)
    assert left.problem() is None
    return [row.values[0] for row in rows_of(left)]


class TestRules:
    @pytest.mark.parametrize(
        ("rule", "counts"),
        [
            ("function=app.db.query", [3]),
            ("function=app.*", [3, 2]),
            ("function=app", []),
            ("function=~^requests", [2]),
            (r"function=~\.place$", [3]),
            ("module=app", [3, 2]),
            ("module=app.orders", [3]),
            ("module=app.o*", [3]),
            ("module=~^requests$", [2]),
            ("module=app.db.query", []),
            ("file=*/site-packages/*", [2]),
            ("file=/srv/app/*", [3, 2]),
            ("file=~orders", [3]),
            ("label.thread_name=worker-*", [2, 1]),
            ("label.thread_name=~^Main", [3]),
            ("label.thread_name=worker", []),
            ("label.endpoint=*", []),
            ("function=(between samples)", [1]),
        ],
    )
    def test_include_what_they_match_and_exclude_the_same(
        self, rule: str, counts: list[int]
    ) -> None:
        assert kept(include=(rule,)) == counts
        assert kept(exclude=(rule,)) == [n for n in [3, 2, 1] if n not in counts]

    def test_of_one_list_are_alternatives(self) -> None:
        assert kept(include=("module=requests", "label.thread_name=worker-2")) == [2, 1]
        assert kept(exclude=("module=requests", "label.thread_name=worker-2")) == [3]

    def test_exclude_from_what_is_included(self) -> None:
        assert kept(include=("module=app",), exclude=("module=requests",)) == [3]

    def test_come_from_the_configuration(self) -> None:
        config = Config(filter_include=("module=app",), filter_exclude=("module=requests",))
        assert len(from_config(config).process(PROFILE)) == 1

    @pytest.mark.parametrize("setting", ["filter_include", "filter_exclude"])
    @pytest.mark.parametrize(
        ("rule", "message"),
        [
            ("app.*", "'app.*' is not FIELD=GLOB or FIELD=~REGEX with one of function, module"),
            ("line=7", "'line=7' is not FIELD=GLOB"),
            ("label.=x", "'label.=x' is not FIELD=GLOB"),
            ("function=", "function: the expression is empty"),
            ("function=~", "function: the expression is empty"),
            ("file=~(", "file: '(' is no regular expression: missing )"),
            ("module=~(a+)+b", "module: '(a+)+b' could take too long"),
        ],
    )
    def test_that_cannot_be_used_are_the_callers_mistake(
        self, setting: str, rule: str, message: str
    ) -> None:
        lists = {"filter_include": (), "filter_exclude": ()} | {setting: ("module=a", rule)}
        with pytest.raises(ConfigError) as raised:
            Filter(lists["filter_include"], lists["filter_exclude"])
        assert str(raised.value).startswith(f"{setting}: {message}")
        assert raised.value.setting == setting


class TestProfiles:
    def test_of_which_all_leaves_are_the_same(self) -> None:
        assert Filter().process(PROFILE) is PROFILE
        assert Filter(exclude=("module=nothing",)).process(PROFILE) is PROFILE

    def test_count_what_they_lose(self) -> None:
        left = Filter(exclude=("label.thread_name=worker-*",)).process(PROFILE)
        assert dict(left.losses) == {"filtered": 3, "filtered_cpu_nanoseconds": 31}

    def test_add_to_what_they_have_lost_already(self) -> None:
        profile, _ = cpu_and_wall()
        once = Filter(exclude=("label.thread_name=worker",)).process(profile)
        twice = Filter(exclude=("label.thread_name=MainThread",)).process(once)
        assert len(twice) == 0
        lost = {"filtered": 7, "filtered_cpu_nanoseconds": 70_000_000}
        assert dict(twice.losses) == {"overflow": 2, "truncated": 5, **lost}

    def test_without_counts_lose_rows(self) -> None:
        size = (ValueType("inuse_space", "bytes"),)
        profile = profile_of(row(LEAF, values=(70,)), row(ROOT, values=(7,)), value_types=size)
        left = Filter(include=("function=app.db.*",)).process(profile)
        assert dict(left.losses) == {"filtered": 1, "filtered_inuse_space_bytes": 7}

    def test_carry_nothing_of_what_was_left_out(self) -> None:
        left = Filter(include=("module=requests",)).process(PROFILE)
        tables = left.tables
        strings = {LIBRARY.function, LIBRARY.filename, ROOT.function, ROOT.filename}
        assert set(tables.strings) == {"", *strings, "thread_name", "worker-1"}
        assert len(tables.functions) == len(tables.frames) == 3
        assert [len(t) for t in (tables.stacks, tables.links, tables.label_sets)] == [2, 2, 2]
        assert rows_of(left) == rows_of(PROFILE)[1:2]

    def test_keep_all_else(self) -> None:
        for profile in cpu_and_wall():
            left = Filter(exclude=("label.thread_name=worker",)).process(profile)
            for name in ("kind", "profile_id", "resource", "producer", "period", "start_unix_ns"):
                assert getattr(left, name) == getattr(profile, name)
