"""Answers: their bytes, with the headers that all of them have, and the error that becomes one."""

from dataclasses import dataclass
from http import HTTPStatus

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
PPROF = "application/octet-stream"  # what Go says, and what scrapers ask for

# Nothing of an answer is to be run, framed, kept or read by a page of somebody else's.
_ALWAYS = (
    ("Cache-Control", "no-store"),
    ("Connection", "close"),
    ("Content-Security-Policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)

Headers = tuple[tuple[str, str], ...]


class Refused(Exception):  # noqa: N818 - an answer, not a mistake of ours
    """A request that is not answered as it was meant.

    Attributes:
        status: of the answer.
        reason: the answer's text, which names the part and the value.
        headers: of the answer, besides those of all.
    """

    def __init__(self, status: HTTPStatus, reason: str, headers: Headers = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers


class Gone(Exception):  # noqa: N818 - as above
    """The client has hung up: nobody is left to be answered."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client gets.

    Attributes:
        body: None if it is not known, as for a HEAD that is not to take a profile.
    """

    status: HTTPStatus
    content_type: str
    body: bytes | None
    headers: Headers = ()


def encode(answer: Answer, *, has_body: bool) -> bytes:
    """`answer` as HTTP/1.1, without its body where the method asks for the head only."""
    headers = [*answer.headers, ("Content-Type", answer.content_type), *_ALWAYS]
    if answer.body is not None:
        headers.append(("Content-Length", str(len(answer.body))))
    lines = [f"HTTP/1.1 {answer.status.value} {answer.status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers]
    head = "\r\n".join((*lines, "", "")).encode("latin-1")
    return head + answer.body if has_body and answer.body else head


def of_refusal(refused: Refused) -> Answer:
    """What the client is told."""
    text = f"otelprof: {refused.reason}\n"
    return Answer(refused.status, TEXT, text.encode(), refused.headers)


def shown(text: str) -> str:
    """What a client has sent, as it may stand in an answer: ASCII, one line, not long."""
    return ascii(text[:80] + "…" if len(text) > 80 else text)  # noqa: PLR2004 - about a line
