"""Globs and regular expressions: what they match, and that none can take for ever."""

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from otelprof import expressions
from otelprof.expressions import (
    MAX_EXPRESSION_CHARS,
    MAX_TEXT_CHARS,
    Matches,
    compiled,
    glob,
    regular,
)


class TestGlob:
    @pytest.mark.parametrize(
        ("text", "candidate"),
        [
            ("app.main", "app.main"),
            ("app.*", "app.orders.Order.place"),
            ("*/site-packages/*", "/srv/venv/lib/site-packages/requests/api.py"),
            ("worker-?", "worker-1"),
            ("worker-[0-9]", "worker-7"),
            ("worker-[!0-9]", "worker-x"),
            ("a\nb*", "a\nbc"),
        ],
    )
    def test_matches_a_whole_text(self, text: str, candidate: str) -> None:
        assert glob(text)(candidate)

    @pytest.mark.parametrize(
        ("text", "candidate"),
        [("app", "app.main"), ("main", "app.main"), ("APP.*", "app.main"), ("a.b", "a_b")],
    )
    def test_matches_no_part_and_no_other_case(self, text: str, candidate: str) -> None:
        assert not glob(text)(candidate)

    def test_of_many_stars_is_one_pass_over_the_text(self) -> None:
        assert not glob("*a" * 100 + "b")("a" * MAX_TEXT_CHARS)  # would never end, one by one


class TestRegular:
    @pytest.mark.parametrize(
        ("text", "candidate"),
        [
            ("orders", "app.orders.Order"),
            (r"^app\.", "app.orders"),
            (r"\.py$", "/srv/a.py"),
            ("(?i)ORDERS", "app.orders"),
        ],
    )
    def test_is_found_anywhere(self, text: str, candidate: str) -> None:
        assert regular(text)(candidate)

    def test_is_not_found_where_it_is_not(self) -> None:
        assert not regular("^orders")("app.orders")

    def test_looks_at_the_first_characters_of_a_text_only(self) -> None:
        text = "a" * MAX_TEXT_CHARS + "b"
        assert regular("a$")(text)
        assert not regular("b")(text)
        assert not glob("*b")(text)

    @pytest.mark.parametrize(
        "text",
        [
            "(?:django|flask)[.]",
            "test_.*_slow",
            "^app.*orders.*place",
            r"[^/]+\.py$",
            r"(?:[a-z]{1,3}){2}",
            "(?:ab)*c",
            "^(?>.*?a)(?>.*?b)(?>.*?c)",
            "x*+y*+z*+w",
            "colou?r",
            "(?=a)b(?!c)(?<!d)",
            r"(a)\1",
            "(a)?(?(1)b|c)",
            "(?P<name>a)(?P=name)",
        ],
    )
    def test_that_ends_soon_is_taken(self, text: str) -> None:
        assert compiled(text).pattern == text

    @pytest.mark.parametrize(
        "text",
        [
            "(a+)+$",
            "(a*)*b",
            "(a|aa)+$",
            "(a|b|ab)*c",
            "([a-z]+)*x",
            "(x+x+)+y",
            "(.*a){20}",
            "(a?){30}a{30}",
            "a?" * 30 + "a" * 30,
            "^(([a-z])+.)+[A-Z]([a-z])+$",
            "(.*?,){12}P",
            ".*.*.*x",
            ".*a.*b",
            "^.*a.*b.*c",
            r"(.*)\1\1x.*.*",
            "(?:(?=(a+))a)+(?:b|bb)*x",
            "((a{0,50}){0,50}){0,50}",
            "(?>(a+)+)b",
            "(?=(a+)+$)",
        ],
    )
    def test_that_could_take_too_long_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="could take too long") as raised:
            compiled(text)
        assert repr(text) in str(raised.value)

    @pytest.mark.parametrize(
        "text", ["(", "[a", "*", "a{2,1}", "(?P<1>a)", "a{99999999999}", "\\", "(" * 900]
    )
    def test_that_is_none_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="is no regular expression") as raised:
            compiled(text)
        assert repr(text) in str(raised.value)

    def test_that_warns_is_refused_where_warnings_are_errors(self) -> None:
        with pytest.raises(ValueError, match="is no regular expression: Possible nested set"):
            compiled("[[a]")

    @pytest.mark.parametrize("has_parser", [True, False])
    def test_of_a_python_that_parses_otherwise_is_refused(
        self, has_parser: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def find(name: str) -> type:
            return Otherwise if has_parser else type(name, (), {})

        monkeypatch.setattr(expressions, "import_module", find)
        with pytest.raises(ValueError, match="'a' cannot be checked on this Python: use a glob"):
            compiled("a")


class Otherwise:
    """A parser of a Python to come."""

    @staticmethod
    def parse(text: str) -> list[tuple[str, str]]:
        return [("A_NEW_OPERATION", text)]


@pytest.mark.parametrize("make", [glob, regular])
class TestBoth:
    def test_are_not_empty(self, make: Callable[[str], Matches]) -> None:
        with pytest.raises(ValueError, match="the expression is empty"):
            make("")

    def test_have_a_length(self, make: Callable[[str], Matches]) -> None:
        assert make("a" * MAX_EXPRESSION_CHARS)("a" * MAX_EXPRESSION_CHARS)
        with pytest.raises(ValueError, match="more than 1000 characters"):
            make("a" * (MAX_EXPRESSION_CHARS + 1))


@pytest.mark.parametrize(
    ("text", "candidate"),
    [
        ("a*b", "a" * 40),
        ("^a*a*b", "a" * 40),
        ("^(?:aa|a)a?a*b", "a" * 40),
        ("^(?:aa|b){2,3}a*c", "a" * 40),
        ("a{3}(?:a|ba){1,2}a*b", "a" * 40),
    ],
)
def test_the_bound_is_one(text: str, candidate: str) -> None:
    """Counted with a matcher that backtracks as `re` does, on the texts that are worst for it."""
    parse: Any = importlib.import_module("re._parser").parse
    tried = [0]
    for begin in range(len(candidate) + 1):
        try_all(list(parse(text)), candidate, begin, tried)
    assert 100 < tried[0] <= expressions._steps(parse(text))


def try_all(operations: list[Any], text: str, at: int, tried: list[int]) -> None:
    """Go all ways through `text` from `at`, and count the operations."""
    tried[0] += 1
    if operations:
        operation, argument = operations[0]
        for inner, behind in ways(str(operation), argument, text, at):
            try_all([*inner, *operations[1:]], text, behind, tried)


def ways(operation: str, argument: Any, text: str, at: int) -> Iterator[tuple[list[Any], int]]:
    """What may come in the place of an operation, and where."""
    match operation:
        case "LITERAL" if at < len(text) and ord(text[at]) == argument:
            yield [], at + 1
        case "AT" if at == 0:
            yield [], at
        case "MAX_REPEAT":
            least, most, inner = argument
            for count in range(min(most, len(text) - at), least - 1, -1):
                yield list(inner) * count, at
        case "BRANCH":
            for branch in argument[1]:
                yield list(branch), at
        case "SUBPATTERN":
            yield list(argument[-1]), at
        case _:
            assert operation in {"LITERAL", "AT"}
