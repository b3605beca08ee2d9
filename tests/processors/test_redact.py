"""What may tell a secret or a person does not leave: texts one by one, and whole profiles."""

import gc
import gzip
import re
from collections import Counter
from dataclasses import replace
from types import CodeType, FunctionType

import pytest

from otelprof.config import Config
from otelprof.errors import ConfigError
from otelprof.expressions import compiled
from otelprof.formats import otlp, pprof, spans_jsonl
from otelprof.model import Attributes, Producer, Profile, SpanRecord
from otelprof.processors.redact import (
    HOME_OF_FILE,
    MAX_LABEL_VALUE_CHARS,
    MAX_SHOWN_CHARS,
    REDACTED,
    RULES,
    SENSITIVE_KEY,
    Redactor,
    Rule,
    from_config,
)
from tests.support.profiles import (
    LEAF,
    ROOT,
    SPAN,
    SPAN_ID,
    TRACE_ID,
    Place,
    profile_of,
    row,
    rows_of,
)
from tests.support.profiles import cpu_and_wall as full
from tests.support.secrets import Planted, planted

SPAN_RECORD = SpanRecord(
    TRACE_ID, SPAN_ID, b"", SPAN_ID, "checkout", 1, "/pay", 0, 1, 2, "Thread-1"
)


def redacted(text: str) -> str:
    return Redactor().text(text)


def processed(profile: Profile) -> Profile:
    """What leaves; it is valid, and weighs as much."""
    left = Redactor().process(profile)
    assert left.problem() is None
    assert [sum(column) for column in left.values] == [sum(column) for column in profile.values]
    return left


class TestTexts:
    def test_of_200_secrets_none_leaves(self) -> None:
        secrets = planted(8, seed=5)
        assert len(secrets) >= 200
        told = Counter(s.shape for s in secrets if s.canary in redacted(s.text))
        assert told == {}

    @pytest.mark.parametrize("secret", planted(1, seed=6), ids=lambda s: s.shape)
    def test_what_stands_around_a_secret_stays(self, secret: Planted) -> None:
        assert secret.kept in redacted(secret.text)

    @pytest.mark.parametrize("secret", planted(1, seed=7), ids=lambda s: s.shape)
    def test_what_was_redacted_stays_as_it_is(self, secret: Planted) -> None:
        once = redacted(secret.text)
        assert redacted(once) == once

    @pytest.mark.parametrize(
        ("text", "left"),
        [
            ("postgres://bob:pw@db:5432/shop", "postgres://[redacted]@db:5432/shop"),
            ("amqp://bob:a@b/c@queue/vhost", "amqp://[redacted]@queue/vhost"),
            ("token=abc&page=2", "token=[redacted]&page=2"),
            ("PGPASSWORD=abc psql", "PGPASSWORD=[redacted] psql"),
            ('"client_secret": "a b", "x": 1', '"client_secret": [redacted], "x": 1'),
            ("Authorization: Basic YTpi", "Authorization: [redacted]"),
            ("file /home/alice", "file ~"),
            ("/var/home/alice/a.py", "~/a.py"),
            ("/root/app.py", "~/app.py"),
            ("D:/Users/Bob/a.py", "~/a.py"),
        ],
    )
    def test_say_that_something_was_there(self, text: str, left: str) -> None:
        assert redacted(text) == left

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "GET /users/me",
            "https://example.org:8443/a@b?c=d",
            "Thread-12 (process_request_thread)",
            "/srv/home/alice/app.py",
            "/rooted/app.py",
            "app.Token.secret",
            "risk-assessment-of-the-whole-organisation",
            "celery@host-7",
            "alice@example.org",
            "basic authentication",
            "<frozen importlib._bootstrap>",
        ],
    )
    def test_without_a_secret_stay(self, text: str) -> None:
        assert redacted(text) == text

    def test_of_this_interpreters_code_stay(self) -> None:
        """All functions that are loaded here: what a profile is made of, and nothing to hide in it."""
        names: set[str] = set()
        for function in gc.get_objects():
            if type(function) is FunctionType:
                code: CodeType = function.__code__
                file = re.sub(".*/(?=lib/|tests/|otelprof/)", "/opt/", code.co_filename)
                names |= {f"{function.__module__}.{code.co_qualname}", file}
        names = {name for name in names if not name.startswith(("/root", "/home"))}
        assert len(names) > 3_000
        changed = {name: redacted(name) for name in names if redacted(name) != name}
        assert changed == {}

    def test_have_a_length(self) -> None:
        assert redacted("x" * MAX_SHOWN_CHARS) == "x" * MAX_SHOWN_CHARS
        assert redacted("x" * (MAX_SHOWN_CHARS + 1)) == "x" * (MAX_SHOWN_CHARS - 1) + "…"

    def test_cut_off_in_the_middle_of_a_secret_tell_nothing_of_it(self) -> None:
        for before in range(MAX_SHOWN_CHARS - 30, MAX_SHOWN_CHARS + 2):
            assert "hunter2" not in redacted("x" * before + " password=" + "hunter2" * 100)

    def test_that_are_endless_are_looked_at_up_to_where_they_are_cut(self) -> None:
        assert len(redacted("password=" * 1_000_000)) <= MAX_SHOWN_CHARS


class TestRules:
    @pytest.mark.parametrize(
        "pattern", [*(rule.pattern for rule in RULES), f"^{HOME_OF_FILE}", SENSITIVE_KEY]
    )
    def test_none_can_take_long(self, pattern: str) -> None:
        assert compiled(pattern).pattern == pattern

    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.marks[0])
    def test_each_finds_something_that_no_other_does(
        self, rule: Rule, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        others = tuple(other for other in RULES if other is not rule)
        monkeypatch.setattr("otelprof.processors.redact.RULES", others)
        poorer = Redactor()
        assert any(secret.canary in poorer.text(secret.text) for secret in planted(4, seed=8))

    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.marks[0])
    def test_each_finds_nothing_where_its_marks_are_not(self, rule: Rule) -> None:
        for secret in planted(4, seed=9):
            found = re.search(rule.pattern, secret.text)
            assert found is None or any(mark in found[0] for mark in rule.marks)


class TestOwnPatterns:
    def test_are_replaced_as_a_whole(self) -> None:
        redactor = Redactor([r"tenant-\d+", "(?i)acme"])
        assert redactor.text("tenant-17 of ACME, token=a") == (
            "[redacted] of [redacted], token=[redacted]"
        )

    def test_come_from_the_configuration(self) -> None:
        redactor = from_config(Config(redact_patterns=("acme",)))
        (left,) = rows_of(redactor.process(profile_of(row(LEAF, values=(1, 2), tenant="acme"))))
        assert left.labels == (("tenant", REDACTED),)

    @pytest.mark.parametrize("pattern", ["(", "(a+)+b", ""])
    def test_that_cannot_be_used_are_the_callers_mistake(self, pattern: str) -> None:
        with pytest.raises(ConfigError, match=r"^redact_patterns: ") as raised:
            Redactor(["fine", pattern])
        assert raised.value.setting == "redact_patterns"
        assert repr(pattern) in str(raised.value) or not pattern


class TestProfiles:
    def test_without_secrets_say_the_same(self) -> None:
        for profile in full():
            left = processed(replace(profile, resource=(("service.name", "shop"),)))
            assert rows_of(left) == rows_of(profile)
            assert (left.producer, left.losses) == (profile.producer, profile.losses)

    def test_give_the_same_each_time(self) -> None:
        profile, redactor = with_secrets(), Redactor()
        assert redactor.process(profile) == redactor.process(profile) == Redactor().process(profile)

    def test_of_home_directories_keep_the_way_below(self) -> None:
        profile = profile_of(
            row(Place("a", "/home/alice/shop/a.py", 1, 2), values=(1, 10)),
            row(Place("b", "/Users/John Smith/b.py", 1, 2), values=(1, 10)),
            row(Place("c", r"C:\Users\Jo Smith\c.py", 1, 2), values=(1, 10)),
            row(Place("d", "/root", 1, 2), values=(1, 10)),
            row(Place("e", "<string>", 1, 2), values=(1, 10)),
        )
        left = [places[0].filename for places, *_ in rows_of(processed(profile))]
        assert left == ["~/shop/a.py", "~/b.py", r"~\c.py", "~", "<string>"]

    def test_of_functions_that_become_the_same_are_added_up(self) -> None:
        profile = profile_of(
            row(Place("f", "/home/alice/a.py", 1, 2), ROOT, values=(1, 10), link=SPAN),
            row(Place("f", "/home/bob/a.py", 1, 2), ROOT, values=(2, 20), link=SPAN),
            row(Place("f", "/home/bob/a.py", 1, 3), ROOT, values=(4, 40), link=SPAN),
        )
        left = processed(profile)
        assert [values for _, values, *_ in rows_of(left)] == [(3, 30), (4, 40)]
        assert left.profile_id == profile.profile_id

    def test_of_labels_that_become_the_same_are_added_up(self) -> None:
        profile = profile_of(
            row(LEAF, values=(1, 10), sql="a:token=1"), row(LEAF, values=(2, 20), sql="a:token=2")
        )
        (left,) = rows_of(processed(profile))
        assert (left.values, left.labels) == ((3, 30), (("sql", "a:token=[redacted]"),))

    def test_of_labels_that_are_named_like_a_secret_hide_their_values(self) -> None:
        profile = profile_of(row(LEAF, values=(1, 10), api_key="abc", page="2"))
        (left,) = rows_of(processed(profile))
        assert left.labels == (("api_key", REDACTED), ("page", "2"))

    def test_of_long_labels_are_cut(self) -> None:
        profile = profile_of(row(LEAF, values=(1, 10), sql="x" * 300))
        ((_, value),) = rows_of(processed(profile))[0].labels
        assert value == "x" * (MAX_LABEL_VALUE_CHARS - 1) + "…"

    def test_with_a_value_that_is_also_a_name_hide_it_where_it_is_one(self) -> None:
        profile = profile_of(row(Place("hunter2", "a.py", 1, 2), values=(1, 10), api_key="hunter2"))
        (left,) = rows_of(processed(profile))
        assert left.places[0].function == "hunter2"
        assert left.labels == (("api_key", REDACTED),)

    def test_of_the_command_line_and_the_user_lose_them(self) -> None:
        resource: Attributes = (
            ("service.name", "shop"),
            ("process.pid", 7),
            ("process.command", "/usr/bin/python"),
            ("process.command_line", "python -p x"),
            ("process.command_args", ("python", "-p", "x")),
            ("process.owner", "alice"),
            ("process.environment_variable.PW", "x"),
            ("user.email", "alice@example.org"),
            ("db.password", "x"),
            ("db.tokens", 5),
            ("db.urls", ("pg://a:b@c", "pg://d")),
            ("process.executable.path", "/home/alice/venv/bin/python"),
            ("shop.canary", True),
        )
        left = processed(replace(full()[0], resource=resource))
        assert left.resource == (
            ("service.name", "shop"),
            ("process.pid", 7),
            ("db.password", REDACTED),
            ("db.tokens", REDACTED),
            ("db.urls", ("pg://[redacted]@c", "pg://d")),
            ("process.executable.path", "~/venv/bin/python"),
            ("shop.canary", True),
        )

    def test_of_every_format_tell_no_secret(self) -> None:
        profile, span = with_secrets(), secret_span()
        redactor = Redactor()
        left, span = redactor.process(profile), redactor.process_span(span)
        for blob in (
            gzip.decompress(pprof.encode([left])),
            otlp.encode([left], full=True),
            spans_jsonl.encode((span,), left.resource),
        ):
            assert b"hunter2" not in blob
            assert b"alice" not in blob


class TestSpans:
    def test_without_secrets_are_the_same(self) -> None:
        assert Redactor().process_span(SPAN_RECORD) is SPAN_RECORD

    def test_lose_secrets_of_their_texts_only(self) -> None:
        left = Redactor().process_span(secret_span())
        assert left == SPAN_RECORD._replace(
            name="GET /cb?token=[redacted]", route="/~", thread="pg://[redacted]@db"
        )


def with_secrets() -> Profile:
    """One in every place that holds text."""
    place = Place("f<token=hunter2>", "/home/alice/a?password=hunter2", 1, 2)
    profile = profile_of(
        row(place, ROOT, values=(1, 10), thread_name="pg://bob:hunter2@db", api_key="hunter2"),
        row(LEAF, ROOT, values=(2, 20), link=SPAN),
    )
    return replace(
        profile,
        resource=(
            ("service.name", "shop token=hunter2"),
            ("process.command_args", ("run", "hunter2")),
            ("db.password", "hunter2"),
        ),
        producer=Producer("1", "python", "no /home/alice/core.so: password=hunter2"),
    )


def secret_span() -> SpanRecord:
    return SPAN_RECORD._replace(
        name="GET /cb?token=hunter2", route="//home/alice", thread="pg://bob:hunter2@db"
    )
