"""What an answer means: the one table of outcomes, for all exporters.

    HTTP    2xx                             delivered
            408 429 502 503 504             retried, as are connections that fail and times that run out
            500                             retried for ten minutes
            413                             refused, and sent again in halves
            anything else                   refused
    gRPC    CANCELLED DEADLINE_EXCEEDED ABORTED OUT_OF_RANGE UNAVAILABLE DATA_LOSS      retried
            RESOURCE_EXHAUSTED              retried where the receiver says when; as 413 where it speaks of a size
            anything else                   refused

Sources: OTLP specification, "Failures" and "Retryable Response Codes". Two statuses go beyond it: 408, which says by
definition that the request may be repeated (RFC 9110, 15.5.9), and 500, which Pyroscope answers while it starts. As 500
may also mean a profile that it cannot read, that is not for ever.

No reason has a credential in it: what a receiver says goes through `Words`.
"""

import re
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime

from otelprof.clock import NS_PER_S, SYSTEM_CLOCK, Clock
from otelprof.interfaces import DELIVERED, Outcome

RETRIED_STATUS = frozenset({408, 429, 502, 503, 504})
SERVER_ERROR = 500
TOO_LARGE = 413
SERVER_ERROR_PATIENCE_S = 600.0
RETRIED_CODES = frozenset(
    {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"},
)
EXHAUSTED = "RESOURCE_EXHAUSTED"

MAX_RETRY_AFTER_S = 86_400.0  # beyond a day it is no date but a mistake
MAX_WORDS = 200  # characters of a receiver's that a log line gets
_MIN_SECRET = 4  # characters; shorter ones are parts of words
_OF_SIZE = re.compile(r"larger than|too large|too big|message size", re.IGNORECASE)
_TOO_LARGE_HINT = "the request is larger than the receiver, or a proxy before it, allows"

# By HTTP status or gRPC code, the known mistake behind it. An exporter adds its own.
Hints = Mapping[int | str, str]
HINTS: Hints = {
    **dict.fromkeys(
        (301, 302, 303, 307, 308), "redirects are not followed; is the endpoint right?"
    ),
    TOO_LARGE: _TOO_LARGE_HINT,
    EXHAUSTED: _TOO_LARGE_HINT,
}


class Words:
    """What is said about a receiver: where it is, and what it says, both without credentials.

    Args:
        where: its address, as it may be shown.
        secrets: what must not be repeated, also where a receiver does so.
        hints: known mistakes, over those of `HINTS`.
    """

    def __init__(self, where: str, secrets: Iterable[str], hints: Hints) -> None:
        self.where = where
        self._hints = {**HINTS, **hints}
        # `Bearer 6d73` is as secret as `6d73`; the longest first, so that no rest of one stays.
        parts = {part for secret in secrets for part in (secret, *secret.split())}
        self._secrets = sorted((p for p in parts if len(p) >= _MIN_SECRET), key=len, reverse=True)

    def of(self, text: str) -> str:
        """The beginning of `text` in one line."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return re.sub(r"\s+", " ", text).strip()[:MAX_WORDS]

    def hint(self, answer: int | str) -> str:
        """What may be wrong, behind a colon; empty if nothing is known."""
        hint = self._hints.get(answer)
        return f": {hint}" if hint else ""


def unreachable(words: Words, why: str) -> Outcome:
    """Nobody took them, as far as we know."""
    return Outcome("retry", f"nobody takes them at {words.where} ({words.of(why)})")


def unusable(words: Words, why: str) -> Outcome:
    """The request cannot be made, now or later."""
    return Outcome("refused", f"{words.where} cannot be used ({words.of(why)})")


def of_status(status: int, text: str, wait_s: float | None, words: Words) -> Outcome:
    """The outcome of an HTTP answer with `status`.

    Args:
        status: 100 to 599.
        text: what the receiver says beside it.
        wait_s: seconds after which it asks us to come back; None if it does not.
        words: what is said about this receiver.
    """
    if 200 <= status < 300:  # noqa: PLR2004 - HTTP's success
        return DELIVERED
    reason = f"{words.where} answers {status} {words.of(text)}".rstrip() + words.hint(status)
    if status in RETRIED_STATUS:
        return Outcome("retry", reason, wait_s)
    if status == SERVER_ERROR:
        return Outcome("retry", reason, wait_s, patience_s=SERVER_ERROR_PATIENCE_S)
    return Outcome("refused", reason, is_too_large=status == TOO_LARGE)


def of_code(code: str, details: str, wait_s: float | None, words: Words) -> Outcome:
    """The outcome of a gRPC call that failed with `code`, by the name of the code. Arguments as for `of_status`."""
    said = f"{code} {words.of(details)}".rstrip()
    if code in RETRIED_CODES:
        return Outcome("retry", f"nobody takes them at {words.where} ({said})", wait_s)
    if code == EXHAUSTED and wait_s is not None:
        return Outcome("retry", f"{words.where} answers {said}", wait_s)
    reason = f"{words.where} answers {said}{words.hint(code)}"
    is_too_large = code == EXHAUSTED and _OF_SIZE.search(details) is not None
    return Outcome("refused", reason, is_too_large=is_too_large)


def retry_after_s(text: str | None, clock: Clock = SYSTEM_CLOCK) -> float | None:
    """The seconds to wait that the HTTP header `Retry-After` asks for: a number of them, or a date. None if neither."""
    text = (text or "").strip()
    if re.fullmatch(r"\d+", text, re.ASCII):
        return min(MAX_RETRY_AFTER_S, float(text))
    try:
        until_s = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(MAX_RETRY_AFTER_S, max(0.0, until_s - clock.unix_ns() / NS_PER_S))
