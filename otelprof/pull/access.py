"""Who may ask: programs with the token, and no web page on behalf of the browser that shows it."""

import hmac
import re
from base64 import b64decode
from http import HTTPStatus
from ipaddress import ip_address

from otelprof.pull.answers import Refused, shown
from otelprof.pull.request import Request
from otelprof.pull_settings import PullPlace

METHODS = ("GET", "HEAD")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?", re.ASCII)
_CHALLENGE = (
    ("WWW-Authenticate", 'Basic realm="otelprof", charset="UTF-8", Bearer realm="otelprof"'),
)


def check(request: Request, place: PullPlace, token: str) -> None:
    """Let `request` pass if it may be answered at `place`.

    Raises:
        Refused: it may not, the first reason in this order: for another host, of a page's, method, token.
    """
    host = request.header("Host")
    _check_host(host, place)
    _check_origin(request, host)
    if request.method not in METHODS:
        reason = f"{shown(request.method)}: there is only {' and '.join(METHODS)}"
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, reason, (("Allow", ", ".join(METHODS)),))
    if token and not _has_token(request.header("Authorization"), token):
        reason = "Authorization: the token is needed, as a bearer or as the password of basic authentication"
        raise Refused(HTTPStatus.UNAUTHORIZED, reason, _CHALLENGE)


def _check_host(host: str, place: PullPlace) -> None:
    """A page may have its own name resolve to this machine's loopback, and then ask there (DNS rebinding)."""
    match = _HOST.fullmatch(host)
    if match is None:
        raise Refused(HTTPStatus.BAD_REQUEST, f"Host: {shown(host)} is not one")
    # No page gets to a Unix socket; on a network names are many, and the token is obligatory.
    if place.path or not place.is_loopback or _is_of_loopback(match[1]):
        return
    reason = f"Host: {shown(host)} is not this server; ask for localhost or 127.0.0.1"
    raise Refused(HTTPStatus.MISDIRECTED_REQUEST, reason)


def _is_of_loopback(name: str) -> bool:
    if name.lower() == "localhost":
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_origin(request: Request, host: str) -> None:
    """A page of this server's own may ask; no other, not even for an image."""
    origin = request.header("Origin")
    if origin and origin != f"http://{host}":
        raise Refused(HTTPStatus.FORBIDDEN, f"Origin: {shown(origin)} is another one")
    site = request.header("Sec-Fetch-Site")
    if site not in {"", "none", "same-origin"}:
        reason = f"Sec-Fetch-Site: {shown(site)}: open the address itself"
        raise Refused(HTTPStatus.FORBIDDEN, reason)


def _has_token(authorization: str, token: str) -> bool:
    """Whether it shows the token; the time that this takes says nothing about how much of it is right."""
    scheme, _, value = authorization.partition(" ")
    offered = value.strip().encode("latin-1", "replace")
    if scheme.lower() == "basic":
        try:
            offered = b64decode(offered, validate=True).partition(b":")[2]
        except ValueError:
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(offered, token.encode())
