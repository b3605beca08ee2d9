"""The one table of outcomes, row by row, and that nothing said about them shows a credential."""

from email.utils import formatdate

import pytest

from otelprof.clock import NS_PER_S
from otelprof.exporters.outcomes import (
    MAX_RETRY_AFTER_S,
    MAX_WORDS,
    SERVER_ERROR_PATIENCE_S,
    Words,
    of_code,
    of_status,
    retry_after_s,
    unreachable,
    unusable,
)
from otelprof.interfaces import DELIVERED
from tests.support.pipelines import FakeClock

WORDS = Words("http://host/", (), {404: "the path is wrong", "UNIMPLEMENTED": "no such service"})
ALL_CODES = [
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]
RETRIED_STATUS = {408, 429, 500, 502, 503, 504}
RETRIED_CODES = {
    "CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS",
}  # fmt: skip


class TestHttp:
    @pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
    def test_success_is_delivered(self, status: int) -> None:
        assert of_status(status, "whatever", None, WORDS) == DELIVERED

    @pytest.mark.parametrize("status", sorted({*range(100, 200), *range(300, 600)}))
    def test_every_other_status_has_one_row(self, status: int) -> None:
        outcome = of_status(status, "words", 7.0, WORDS)
        is_retried = status in RETRIED_STATUS
        assert outcome.verdict == ("retry" if is_retried else "refused")
        assert outcome.retry_after_s == (7.0 if is_retried else None)
        assert outcome.patience_s == (SERVER_ERROR_PATIENCE_S if status == 500 else None)
        assert outcome.is_too_large == (status == 413)
        assert outcome.reason.startswith(f"http://host/ answers {status} words")

    @pytest.mark.parametrize(
        ("status", "hint"),
        [(404, "the path is wrong"), (413, "larger than"), (302, "redirects are not followed")],
    )
    def test_known_mistakes_have_a_hint(self, status: int, hint: str) -> None:
        assert hint in of_status(status, "", None, WORDS).reason


class TestGrpc:
    @pytest.mark.parametrize("code", ALL_CODES)
    @pytest.mark.parametrize("wait_s", [None, 7.0])
    def test_every_code_has_one_row(self, code: str, wait_s: float | None) -> None:
        is_retried = code in RETRIED_CODES or (code == "RESOURCE_EXHAUSTED" and wait_s is not None)
        outcome = of_code(code, "words", wait_s, WORDS)
        assert outcome.verdict == ("retry" if is_retried else "refused")
        assert outcome.retry_after_s == (wait_s if is_retried else None)
        assert f"{code} words" in outcome.reason

    @pytest.mark.parametrize(
        ("code", "hint"),
        [("UNIMPLEMENTED", "no such service"), ("RESOURCE_EXHAUSTED", "larger than")],
    )
    def test_known_mistakes_have_a_hint(self, code: str, hint: str) -> None:
        assert hint in of_code(code, "", None, WORDS).reason

    @pytest.mark.parametrize(
        ("details", "is_too_large"),
        [
            ("Received message larger than max (4194305 vs. 4194304)", True),
            ("grpc: received message after decompression larger than max 4194304", True),
            ("profile too large", True),
            ("tenant over its quota", False),
            ("", False),
        ],
    )
    def test_exhausted_is_of_the_size_where_it_says_so(
        self, details: str, is_too_large: bool
    ) -> None:
        outcome = of_code("RESOURCE_EXHAUSTED", details, None, WORDS)
        assert (outcome.verdict, outcome.is_too_large) == ("refused", is_too_large)


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("17", 17.0), (" 0 ", 0.0), ("9" * 400, MAX_RETRY_AFTER_S), ("86401", MAX_RETRY_AFTER_S)],
    )
    def test_is_a_number_of_seconds(self, text: str, seconds: float) -> None:
        assert retry_after_s(text) == seconds

    @pytest.mark.parametrize(
        ("from_now_s", "seconds"), [(90, 90.0), (-90, 0.0), (10**7, MAX_RETRY_AFTER_S)]
    )
    def test_is_a_date(self, from_now_s: int, seconds: float) -> None:
        clock = FakeClock()
        date = formatdate(clock.unix_ns() / NS_PER_S + from_now_s, usegmt=True)
        assert retry_after_s(date, clock) == seconds

    @pytest.mark.parametrize(
        "text", [None, "", "soon", "-5", "1e9", "1.5", "٣", "Wed, 99 Oct 2026 07:28:00 GMT", "\x00"]
    )
    def test_is_nothing_else(self, text: str | None) -> None:
        assert retry_after_s(text) is None


class TestWords:
    SECRETS = ("Bearer 6d73aa", "hunter2", "ab", "")

    @pytest.mark.parametrize("secret", ["Bearer 6d73aa", "6d73aa", "hunter2"])
    def test_no_secret_is_repeated_for_a_receiver(self, secret: str) -> None:
        words = Words("http://host/", self.SECRETS, {})
        said = f"you have sent {secret}, and {secret} again"
        for outcome in (
            of_status(400, said, None, words),
            of_code("INTERNAL", said, None, words),
            unreachable(words, said),
            unusable(words, said),
        ):
            assert secret not in outcome.reason
            assert "you have sent …, and … again" in outcome.reason

    def test_what_is_too_short_for_a_secret_stays(self) -> None:
        assert Words("", self.SECRETS, {}).of("able") == "able"

    def test_are_few_and_in_one_line(self) -> None:
        text = Words("", (), {}).of("a\r\n\tb " + "x" * 1_000)
        assert text.startswith("a b xxx")
        assert len(text) == MAX_WORDS
