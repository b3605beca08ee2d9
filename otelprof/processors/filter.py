"""`filter`: which samples leave, by function, module, file and label.

A rule is `FIELD=GLOB` or `FIELD=~REGEX`: `module=shop.*`, `file=*/site-packages/*`, `function=~^test_`,
`label.thread_name=worker-*`. A sample is what its stack and its labels are: rules for functions match it if
they match any frame. Frames are not taken out of stacks.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from otelprof.config import Config
from otelprof.errors import ConfigError
from otelprof.expressions import Matches, glob, regular
from otelprof.interfaces import Processor
from otelprof.model import COUNT, Profile, Tables
from otelprof.processors.tables import samples_of, with_losses, with_rows

FILTERED = (
    "filtered"  # reason of the losses; with type and unit behind it for what was lost of a weight
)
_FIELDS = ("function", "module", "file")
_LABEL = "label."
_RULE = r"(?s)(function|module|file|label\.[^\s=~]+)(=~|=)(.*)"
# Names and files come again at every flush: the rules run once for each.
_MAX_REMEMBERED = 16_384


class Rule(NamedTuple):
    """One rule. `field` is `function`, `module`, `file` or `label.KEY`."""

    field: str
    matches: Matches

    def matches_function(self, name: str, filename: str) -> bool:
        """Whether this is a rule for functions, and the one with this name and file is meant."""
        if self.field == "function":
            return self.matches(name)
        if self.field == "file":
            return self.matches(filename)
        return self.field == "module" and any(map(self.matches, _modules(name)))

    def matches_labels(self, labels: dict[str, str]) -> bool:
        """Whether this is a rule for a label that is there with a value that is meant."""
        if not self.field.startswith(_LABEL):
            return False
        value = labels.get(self.field.removeprefix(_LABEL))
        return value is not None and self.matches(value)


def parse_rule(text: str) -> Rule:
    """The rule that `text` says.

    Raises:
        ValueError: it is none, or its expression cannot be used.
    """
    match = re.fullmatch(_RULE, text)
    if match is None:
        fields = ", ".join((*_FIELDS, f"{_LABEL}KEY"))
        raise ValueError(f"{text!r} is not FIELD=GLOB or FIELD=~REGEX with one of {fields}")
    field, operator, expression = match.groups()
    try:
        return Rule(field, regular(expression) if operator == "=~" else glob(expression))
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from error


def from_config(config: Config) -> Processor:
    """The rules of `filter_include` and `filter_exclude`."""
    return Filter(config.filter_include, config.filter_exclude)


class Filter:
    """Leaves out samples: those that no rule of `include` matches, if there are any, and those that one of `exclude` does.

    What is left out is in the profile's losses: `filtered` samples, and the sum of each weight, such as
    `filtered_cpu_nanoseconds`. So what leaves and what is lost add up to what was collected.

    Raises:
        ConfigError: a rule cannot be used.
    """

    is_required = True

    def __init__(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> None:
        self._include = _Rules("filter_include", include)
        self._exclude = _Rules("filter_exclude", exclude)

    def process(self, profile: Profile) -> Profile:
        """`profile` with those of its rows that are to leave. O(functions, frames of all stacks, rows)."""
        rows = len(profile)
        included = self._include.rows(profile) if self._include else [True] * rows
        excluded = self._exclude.rows(profile) if self._exclude else [False] * rows
        keep = [yes and not no for yes, no in zip(included, excluded, strict=True)]
        if all(keep):
            return profile
        kept = with_rows(profile, keep)
        return with_losses(kept, _difference(profile, kept))


class _Rules:
    """Rules of which one must match."""

    def __init__(self, setting: str, texts: Iterable[str]) -> None:
        try:
            self._rules = tuple(map(parse_rule, texts))
        except ValueError as error:
            raise ConfigError(f"{setting}: {error}", setting=setting) from error
        self._is_function = lru_cache(_MAX_REMEMBERED)(self._matches_function)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def rows(self, profile: Profile) -> list[bool]:
        """For each row, whether a rule matches it."""
        stacks, label_sets = self._stacks(profile.tables), self._label_sets(profile.tables)
        return [
            stacks[stack] or label_sets[labels]
            for stack, labels in zip(profile.stack, profile.labels, strict=True)
        ]

    def _stacks(self, tables: Tables) -> Sequence[bool]:
        texts = tables.strings
        functions = {
            row
            for row, function in enumerate(tables.functions)
            if row and self._is_function(texts[function.name], texts[function.filename])
        }
        frames = {row for row, frame in enumerate(tables.frames) if frame.function in functions}
        return [not frames.isdisjoint(stack) for stack in tables.stacks]

    def _label_sets(self, tables: Tables) -> Sequence[bool]:
        return [
            any(rule.matches_labels(tables.labels_of(row)) for rule in self._rules)
            for row in range(len(tables.label_sets))
        ]

    def _matches_function(self, name: str, filename: str) -> bool:
        return any(rule.matches_function(name, filename) for rule in self._rules)


def _modules(name: str) -> Collection[str]:
    """`a`, `a.b` and `a.b.C` of `a.b.C.f`: which of them are modules the name does not say."""
    ends = [at for at, character in enumerate(name) if character == "."]
    return [name[:end] for end in ends]


def _difference(profile: Profile, kept: Profile) -> dict[str, int]:
    """What `kept` has less, by reason of loss."""
    lost = {FILTERED: samples_of(profile) - samples_of(kept)}
    for number, (type_, unit) in enumerate(profile.value_types):
        if unit != COUNT:
            weight = sum(profile.values[number]) - sum(kept.values[number])
            lost[f"{FILTERED}_{type_}_{unit}"] = weight
    return lost


if TYPE_CHECKING:
    _checked: type[Processor] = Filter
