"""Who is answered: every way to listen, to show a token and to ask; and nobody on behalf of a web page."""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from otelprof.pull_settings import PullSettings
from tests.support.pulling import BEARER, TOKEN, Pulled, pulling

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "BREW")
PATHS = ("", "goroutine", "profile?seconds=1000", "heap", "cmdline", "../pprof/goroutine")


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


AUTHORIZED: dict[str, Mapping[str, str]] = {
    "bearer": BEARER,
    "lower case": {"authorization": f"bearer {TOKEN}"},
    "password": {"Authorization": basic("", TOKEN)},
    "password of a user": {"Authorization": basic("prometheus", TOKEN)},
}
NOT_AUTHORIZED: dict[str, Mapping[str, str]] = {
    "nothing": {},
    "empty": {"Authorization": ""},
    "no scheme": {"Authorization": TOKEN},
    "other scheme": {"Authorization": f"Digest {TOKEN}"},
    "empty bearer": {"Authorization": "Bearer "},
    "begin": {"Authorization": f"Bearer {TOKEN[:-1]}"},
    "more": {"Authorization": f"Bearer {TOKEN}x"},
    "case": {"Authorization": f"Bearer {TOKEN.upper()}"},
    "user": {"Authorization": basic(TOKEN, "")},
    "other password": {"Authorization": basic("", "0123456789abcdef")},
    "no base64": {"Authorization": "Basic %%%"},
    "not ASCII": {"Authorization": "Bearer \xfc" + TOKEN[1:]},
    "elsewhere": {"X-Token": TOKEN, "Cookie": f"token={TOKEN}"},
}


@pytest.fixture(params=["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "unix"])
def pulled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pulled]:
    """A server that wants the token, at each kind of address."""
    address = f"unix:{tmp_path}/pull.sock" if request.param == "unix" else request.param
    with pulling(PullSettings(address, TOKEN, insecure=True)) as (_, pulled):
        yield replace(pulled, host="::1") if "::1" in address else pulled


def test_only_who_has_the_token_gets_anything_and_by_get_only(pulled: Pulled) -> None:
    allowed = 0
    for (name, headers), method, path in product(
        {**AUTHORIZED, **NOT_AUTHORIZED}.items(), METHODS, PATHS
    ):
        told = pulled.get(f"/debug/pprof/{path}", headers, method=method)
        is_allowed = name in AUTHORIZED and method in {"GET", "HEAD"}
        expected = {
            "": 200,
            "goroutine": 200,
            "profile?seconds=1000": 400,
        }.get(path, 404)
        if method not in {"GET", "HEAD"}:
            expected = 400 if method == "get" else 405
        elif not is_allowed:
            expected = 401
        assert told.status == expected, (name, method, path, told)
        if told.status == 401:
            assert told.headers["WWW-Authenticate"].startswith("Basic")
        if told.status == 405:
            assert told.headers["Allow"] == "GET, HEAD"
        assert (told.body == b"") == (method == "HEAD"), (name, method, path, told)
        assert TOKEN.encode() not in told.body
        allowed += told.status == 200
    assert allowed == len(AUTHORIZED) * 2 * 2


HOSTS = {
    "localhost": 200,
    "LOCALHOST:6060": 200,
    "127.0.0.1": 200,
    "127.0.0.1:80": 200,
    "127.1.2.3": 200,
    "[::1]:6060": 200,
    "evil.example": 421,
    "localhost.evil.example": 421,
    "127.0.0.1.evil.example": 421,
    "10.0.0.1": 421,
    "0.0.0.0": 421,  # noqa: S104 - a name here
    "localhost:123456": 400,
    "": 400,
    "local host": 400,
    "localhost/": 400,
    "localhost@evil.example": 400,
    "[::1": 400,
}


def of_host(*hosts: str, more: str = "") -> bytes:
    lines = "".join(f"Host: {host}\r\n" for host in hosts)
    return f"GET /debug/pprof/ HTTP/1.1\r\n{lines}{more}\r\n".encode()


def test_another_name_of_this_machine_is_not_answered() -> None:
    # A page may have its name resolve to 127.0.0.1. Without a token nothing but this stands between.
    with pulling(PullSettings("127.0.0.1:0", insecure=True)) as (_, pulled):
        found = {host: pulled.send(of_host(host)).status for host in HOSTS}
        assert found == HOSTS
        assert pulled.send(of_host()).status == 400
        assert pulled.send(of_host("localhost", "localhost")).status == 400


PAGES = {
    "Origin: http://localhost:1\r\n": 403,
    "Origin: null\r\n": 403,
    "Origin: https://localhost\r\n": 403,
    "Origin: http://evil.example\r\n": 403,
    "Origin: http://localhost\r\n": 200,
    "Sec-Fetch-Site: cross-site\r\n": 403,
    "Sec-Fetch-Site: same-site\r\n": 403,
    "Sec-Fetch-Site: same-origin\r\n": 200,
    "Sec-Fetch-Site: none\r\n": 200,
    "": 200,
}


def test_a_page_of_another_origin_is_not_answered() -> None:
    with pulling(PullSettings("127.0.0.1:0", insecure=True)) as (_, pulled):
        answers = {more: pulled.send(of_host("localhost", more=more)) for more in PAGES}
    assert {more: told.status for more, told in answers.items()} == PAGES
    for told in answers.values():
        assert "Access-Control-Allow-Origin" not in told.headers
        assert told.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert told.headers["X-Content-Type-Options"] == "nosniff"
        assert told.headers["Cache-Control"] == "no-store"
        assert "Server" not in told.headers


def test_a_socket_is_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "pull.sock"
    with pulling(PullSettings(f"unix:{path}")) as (_, pulled):
        assert path.stat().st_mode & 0o777 == 0o600
        assert pulled.get("/debug/pprof/", {}).status == 200
    assert not path.exists()
