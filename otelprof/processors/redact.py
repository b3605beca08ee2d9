"""`redact`: what may tell a secret or a person does not leave the process. docs/processors.md lists it.

Texts are looked at as a whole, in the order of `RULES`; what a rule finds is replaced, what stands around
it stays. Nothing here can be switched off one by one: who wants less leaves `redact` out.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from otelprof.config import Config
from otelprof.errors import ConfigError
from otelprof.expressions import MAX_TEXT_CHARS, compiled
from otelprof.interfaces import Processor, SpanRecordProcessor
from otelprof.model import Attributes, AttributeValue, Profile, SpanRecord
from otelprof.processors.tables import label_sets_of, with_texts

REDACTED = "[redacted]"
MAX_SHOWN_CHARS = 512
MAX_LABEL_VALUE_CHARS = 256
# Names and files come again at every flush: the rules run once for each.
_MAX_REMEMBERED = 16_384

_SENSITIVE_WORDS = (
    "password|passwd|passphrase|pwd|secret|token|credential|authorization|cookie|"
    "api[_.-]?key|access[_.-]?key|private[_.-]?key|session[_.-]?id"
)
_HOMES = r"/(?:var/|usr/|export/)?(?:home|Users)/"


class Rule(NamedTuple):
    """What is replaced, by what. `marks`: without one of these in a text there is nothing to look for, which is cheap."""

    marks: tuple[str, ...]
    pattern: str
    by: str = REDACTED


# The formats are those that their issuers document. Each pattern is one that `expressions.compiled` takes.
RULES = (
    Rule(("-----BEGIN",), r"(?s)-----BEGIN (?:\w{2,10}+ )?PRIVATE KEY-----.*+"),
    # User and password of a URL: up to the last @, in the path only if there is a password.
    Rule(("://",), r"://(?:[^\s/?#@:]*+:(?!\d{1,5}/)[^\s?#]*|[^\s/?#]*)@", f"://{REDACTED}@"),
    # JSON Web Tokens: the base64 of a JSON object, up to three of them.
    Rule(("eyJ",), r"(?<![\w-])eyJ[\w-]{8,}+(?:\.[\w-]*+){0,2}"),
    # The value of what is named like a secret, also behind a word such as Bearer.
    Rule(
        ("=", ":"),
        rf"(?i)((?>{_SENSITIVE_WORDS})[\w-]{{0,32}}+[\"']?+\s?+[=:]\s?+)"
        r"(?:\"[^\"]*+\"?+|'[^']*+'?+|(?:(?:bearer|basic|digest)\s)?[^\s&;,\"']++)",
        rf"\1{REDACTED}",
    ),
    Rule((" ",), r"(?i)\b(bearer|basic) [\w.~+/=-]{16,}+", rf"\1 {REDACTED}"),
    # Keys and tokens of AWS, Google, GitHub and GitLab, Slack, Stripe, OpenAI and Anthropic, npm, PyPI.
    Rule(("AKIA", "ASIA"), r"(?<![A-Z0-9])A(?:KIA|SIA)[A-Z0-9]{16}(?![A-Z0-9])"),
    Rule(("AIza",), r"(?<![\w-])AIza[\w-]{35}"),
    Rule(
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-"),
        r"(?<![\w-])(?:gh[pousr]_[A-Za-z0-9]{36,}+|github_pat_\w{22,}+|glpat-[\w-]{20,}+)",
    ),
    Rule(
        ("xox", "k_live_", "k_test_"),
        r"(?<![\w-])(?:xox[a-z]-[\w-]{10,}+|[rs]k_(?:live|test)_\w{10,}+)",
    ),
    Rule(
        ("sk-", "npm_", "pypi-"),
        r"(?<![\w-])(?:sk-[\w-]{20,}+|npm_\w{36,}+|pypi-[\w-]{50,}+)",
    ),
    # Home directories.
    Rule(("Users",), r"(?<!\w)[A-Za-z]:[\\/]Users[\\/][^\s\\/\"':;,]++", "~"),
    Rule(
        ("/home/", "/Users/", "/root"),
        rf"(?<![\w.~-])(?:{_HOMES}[^\s/\"':;,]++|/root(?![\w.-]))",
        "~",
    ),
)
# A file's name is a path from its first character on, so that a user's name may hold a space.
HOME_OF_FILE = rf"(?:{_HOMES}[^/]++|/root|[A-Za-z]:[\\/]Users[\\/][^\\/]++)(?=[\\/]|$)"
SENSITIVE_KEY = rf"(?i)(?:{_SENSITIVE_WORDS})"

# Attributes of the process that OpenTelemetry's semantic conventions name: its command line and environment,
# and who runs it.
_DROPPED = frozenset(
    {
        "process.command",
        "process.command_args",
        "process.command_line",
        "process.owner",
        "process.real_user.name",
        "process.saved_user.name",
        "process.user.name",
    }
)
_DROPPED_BELOW = ("process.environment_variable.", "user.", "enduser.")


def from_config(config: Config) -> Processor:
    """The rules, and those of `redact_patterns`."""
    return Redactor(config.redact_patterns)


class Redactor:
    """Replaces what its rules find in the texts of profiles and of the spans beside them.

    Args:
        patterns: regular expressions of further texts to replace, by `[redacted]`.

    Raises:
        ConfigError: a pattern is none, or could take too long.
    """

    is_required = True

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        try:
            self._patterns = tuple(map(compiled, patterns))
        except ValueError as error:
            raise ConfigError(f"redact_patterns: {error}", setting="redact_patterns") from error
        self._redacted = lru_cache(_MAX_REMEMBERED)(self._without_secrets)
        self._function = lru_cache(_MAX_REMEMBERED)(self._renamed)

    # Compiled on first use, in the worker: 2 ms that the start of the application does not wait for.

    @cached_property
    def _rules(self) -> tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...]:
        own = tuple((rule.marks, re.compile(rule.pattern), rule.by) for rule in RULES)
        return own + tuple((("",), pattern, REDACTED) for pattern in self._patterns)

    @cached_property
    def _home(self) -> re.Pattern[str]:
        return re.compile(HOME_OF_FILE)

    @cached_property
    def _sensitive_key(self) -> re.Pattern[str]:
        return re.compile(SENSITIVE_KEY)

    def process(self, profile: Profile) -> Profile:
        """`profile` with nothing that a rule finds: in names, files, labels, the resource and the producer."""
        label_sets = [self._labels(labels) for labels in label_sets_of(profile)]
        changed = with_texts(profile, self._function, label_sets)
        return replace(
            changed,
            resource=self._resource(profile.resource),
            producer=profile.producer._replace(reason=self.text(profile.producer.reason)),
        )

    def process_span(self, span: SpanRecord) -> SpanRecord:
        """`span` with nothing that a rule finds: in its name, route and thread."""
        texts = (span.name, span.route, span.thread)
        name, route, thread = map(self.text, texts)
        if (name, route, thread) == texts:
            return span
        return span._replace(name=name, route=route, thread=thread)

    def text(self, text: str) -> str:
        """What leaves instead of `text`."""
        return self._redacted(text[:MAX_TEXT_CHARS])

    def _without_secrets(self, shown: str) -> str:
        for marks, pattern, by in self._rules:
            for mark in marks:  # not `any`: of a thousand texts one has a mark
                if mark in shown:
                    shown = pattern.sub(by, shown)
                    break
        return _cut(shown, MAX_SHOWN_CHARS)

    def _renamed(self, name: str, filename: str) -> tuple[str, str]:
        home = self._home.match(filename, 0, MAX_TEXT_CHARS)
        return self.text(name), self.text("~" + filename[home.end() :] if home else filename)

    def _labels(self, labels: dict[str, str]) -> dict[str, str]:
        return {
            key: REDACTED
            if self._sensitive_key.search(key, 0, MAX_TEXT_CHARS)
            else _cut(self.text(value), MAX_LABEL_VALUE_CHARS)
            for key, value in labels.items()
        }

    def _resource(self, resource: Attributes) -> Attributes:
        return tuple(
            (
                key,
                REDACTED
                if self._sensitive_key.search(key, 0, MAX_TEXT_CHARS)
                else self._value(value),
            )
            for key, value in resource
            if key not in _DROPPED and not key.startswith(_DROPPED_BELOW)
        )

    def _value(self, value: AttributeValue) -> AttributeValue:
        if isinstance(value, str):
            return self.text(value)
        return tuple(map(self.text, value)) if isinstance(value, tuple) else value


def _cut(text: str, chars: int) -> str:
    """`text` in at most `chars` characters."""
    return text if len(text) <= chars else text[: chars - 1] + "…"


if TYPE_CHECKING:
    _checked: type[Processor] = Redactor
    _spans_too: type[SpanRecordProcessor] = Redactor
