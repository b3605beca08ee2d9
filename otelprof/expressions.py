"""Globs and regular expressions of the configuration, for texts of a profile. None can take for ever.

Python's `re` backtracks with the GIL held: an expression such as `(a+)+b` would stop the application for
hours. So an expression is looked at before it is used: how many ways through a text of `MAX_TEXT_CHARS`
there can be at most, whatever the text. One with too many is refused. Longer texts are matched up to there.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, NamedTuple

Matches = Callable[[str], bool]

MAX_TEXT_CHARS = 1_024  # longer than any name or path that is worth a rule
MAX_EXPRESSION_CHARS = 1_000
# Room for one `.*` in a search and some thirty characters behind it. A bound that real texts stay far below.
MAX_STEPS = 1 << 26

_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})
_SINGLE = frozenset({"LITERAL", "NOT_LITERAL", "ANY", "IN", "AT", "FAILURE"})


def glob(text: str) -> Matches:
    """Whether a whole text is what the glob says: `*`, `?`, `[abc]`, `[!abc]`; case counts, `*` goes over `/` and `.`.

    Raises:
        ValueError: it is empty or too long.
    """
    _check_length(text)
    # Each `*` but the last is an atomic group there: linear, whatever the text.
    match = re.compile(fnmatch.translate(text)).match
    return lambda candidate: match(candidate, 0, MAX_TEXT_CHARS) is not None


def regular(text: str) -> Matches:
    """Whether the regular expression is found anywhere in a text.

    Raises:
        ValueError: it is none, or there are texts for which it would take too long.
    """
    search = compiled(text).search
    return lambda candidate: search(candidate, 0, MAX_TEXT_CHARS) is not None


def compiled(text: str) -> re.Pattern[str]:
    """The regular expression, for texts of up to `MAX_TEXT_CHARS` characters.

    Raises:
        ValueError: it is none, or there are texts for which it would take too long.
    """
    _check_length(text)
    try:
        pattern = re.compile(text)
        steps = _steps(import_module("re._parser").parse(text))
    except (re.error, RecursionError, OverflowError, Warning) as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from error
    except (ImportError, AttributeError, TypeError) as error:  # a private module: another Python's
        raise ValueError(f"{text!r} cannot be checked on this Python: use a glob") from error
    if steps > MAX_STEPS:
        raise ValueError(
            f"{text!r} could take too long: a repeated group may hold no other repetition and no choice, and "
            "one .* is enough (two after ^); possessive ones (.*+) and atomic groups do not count"
        )
    return pattern


def _check_length(text: str) -> None:
    if not text:
        raise ValueError("the expression is empty")
    if len(text) > MAX_EXPRESSION_CHARS:
        raise ValueError(f"the expression has more than {MAX_EXPRESSION_CHARS} characters")


class _Effort(NamedTuple):
    """What a part of an expression can cost for a text of `MAX_TEXT_CHARS`, each at most `MAX_STEPS` + 1.

    Attributes:
        exits: in how many ways it can be left, each of which what follows may be tried with.
        steps: how much is tried until all of them are.
    """

    exits: int
    steps: int


def _steps(tree: Any) -> int:  # noqa: ANN401 - `re._parser.SubPattern`
    """The most that `search` may try."""
    operations = list(tree)
    is_anchored = bool(operations) and str(operations[0][1]) in {
        "AT_BEGINNING",
        "AT_BEGINNING_STRING",
    }
    begins = 1 if is_anchored else MAX_TEXT_CHARS + 1
    return _sequence(operations).steps * begins


def _sequence(operations: Iterable[tuple[Any, Any]]) -> _Effort:
    exits = steps = 1
    for operation, argument in operations:
        effort = _operation(str(operation), argument)
        steps = _capped(steps + exits * effort.steps)
        exits = _capped(exits * effort.exits)
    return _Effort(exits, steps)


def _operation(name: str, argument: Any) -> _Effort:  # noqa: ANN401, PLR0911 - by operation
    """The operations are those of Lib/re/_parser.py, `_parse`."""
    if name in _SINGLE:
        return _Effort(1, 1)
    if name == "GROUPREF":
        return _Effort(1, MAX_TEXT_CHARS)
    if name in _REPEATS:
        least, most, inner = argument
        effort = _repeated(least, min(int(most), MAX_TEXT_CHARS), _sequence(inner))
        return _Effort(1, effort.steps) if name == "POSSESSIVE_REPEAT" else effort
    if name == "SUBPATTERN":
        return _sequence(argument[-1])
    if name == "ATOMIC_GROUP":
        return _Effort(1, _sequence(argument).steps)
    if name in {"ASSERT", "ASSERT_NOT"}:
        return _Effort(1, _sequence(argument[1]).steps)
    if name == "BRANCH":
        return _any_of(argument[1])
    if name == "GROUPREF_EXISTS":
        return _any_of([branch for branch in argument[1:] if branch is not None])
    raise TypeError(name)


def _any_of(branches: Iterable[Any]) -> _Effort:
    efforts = [_sequence(branch) for branch in branches]
    return _Effort(
        _capped(sum(effort.exits for effort in efforts)),
        _capped(sum(effort.steps for effort in efforts)),
    )


def _repeated(least: int, most: int, inner: _Effort) -> _Effort:
    """Left after each count from `least` to `most`, each time in as many ways as the counts before multiply to."""
    exits, steps, ways = int(least == 0), 1, 1
    for count in range(1, max(least, most) + 1):
        steps = _capped(steps + ways * inner.steps)
        ways = _capped(ways * inner.exits)
        if count >= least:
            exits = _capped(exits + ways)
        if steps > MAX_STEPS:
            break
    return _Effort(max(exits, ways), steps)


def _capped(number: int) -> int:
    return min(number, MAX_STEPS + 1)
