"""Settings that are lists, as text and as arguments: names, expressions, and keys with values."""

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

from otelprof.errors import ConfigError

Pairs = tuple[tuple[str, str], ...]

MAX_PAIRS, MAX_KEY_CHARS, MAX_VALUE_CHARS = 16, 64, 256

_OPTIONAL_NAMES = frozenset({"processors", "exporters"})  # of which there may be none
_EXPRESSIONS = frozenset({"filter_include", "filter_exclude", "redact_patterns"})
_PAIRS = frozenset({"enrich_resource", "enrich_labels"})
LISTS = frozenset({"collect"}) | _OPTIONAL_NAMES | _EXPRESSIONS | _PAIRS


def parse_names(text: str) -> tuple[str, ...]:
    """Each name between commas once."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def parse_optional_names(text: str) -> tuple[str, ...]:
    """The same; `none` is none."""
    return tuple(name for name in parse_names(text) if name.lower() != "none")


def parse_expressions(text: str) -> tuple[str, ...]:
    """What stands between semicolons. What it means, and whether it does, says who uses it."""
    return tuple(part.strip() for part in text.split(";") if part.strip())


def parse_pairs(text: str, variable: Callable[[str], str]) -> Pairs:
    """`key=value,key=$NAME`, URL-encoded. NAME is what `variable` says; nothing is added where that is empty.

    Raises:
        ValueError: it is not that, or there are too many or too long ones.
    """
    pairs: list[tuple[str, str]] = []
    for item in parse_names(text):
        key, equals, value = map(str.strip, item.partition("="))
        if not equals:
            raise ValueError("expected key=value,key=$VARIABLE, URL-encoded")
        is_variable = value.startswith("$")
        value = variable(value[1:]) if is_variable else unquote(value)
        if value or not is_variable:
            pairs.append((unquote(key), value))
    return _checked(pairs)


def list_of_argument(name: str, value: Any) -> tuple[Any, ...]:  # noqa: ANN401 - whatever a caller gives
    """The setting `name`, one of `LISTS`, as a caller gives it: as text, as a sequence, or as a mapping.

    Raises:
        ConfigError: it cannot be used.
    """
    try:
        if name in _PAIRS:
            return _checked(dict(value).items())
        if isinstance(value, str):
            return parse_expressions(value) if name in _EXPRESSIONS else _names(name, value)
        values = tuple(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: {value!r} cannot be used: {error}", setting=name) from error
    if not all(isinstance(part, str) for part in values):
        raise ConfigError(f"{name}: {value!r} is not a list of texts", setting=name)
    return values if name in _EXPRESSIONS else _names(name, ",".join(values))


def _names(name: str, text: str) -> tuple[str, ...]:
    return parse_optional_names(text) if name in _OPTIONAL_NAMES else parse_names(text)


def _checked(pairs: Iterable[tuple[Any, Any]]) -> Pairs:
    checked: dict[str, str] = {}
    for key, value in pairs:
        if not (isinstance(key, str) and isinstance(value, str) and key):
            raise ValueError("expected keys and values as text")
        if len(key) > MAX_KEY_CHARS or len(value) > MAX_VALUE_CHARS:
            raise ValueError(
                f"{key[:MAX_KEY_CHARS]!r}: expected a key of at most {MAX_KEY_CHARS} characters "
                f"with a value of at most {MAX_VALUE_CHARS}"
            )
        checked[key] = value
    if len(checked) > MAX_PAIRS:
        raise ValueError(f"expected at most {MAX_PAIRS} keys")
    return tuple(checked.items())
