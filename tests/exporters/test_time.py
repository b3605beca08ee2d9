"""An export is over in time, whatever the receiver does: below, in and above HTTP."""

import os
import socket
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from otelprof.interfaces import Outcome
from otelprof.model import Batch
from tests.support.certificates import Authority
from tests.support.exporters import NAMES, NOISE_S, OVER_HTTP, exporting
from tests.support.profiles import Place, cpu_and_wall, profile_of, row
from tests.support.servers import Reply, http_receiver
from tests.support.sockets import (
    React,
    answering,
    blackhole,
    dripping,
    refusing_port,
    resetting,
    serving,
    sipping,
    unreachable,
)

BATCH = Batch(tuple(cpu_and_wall()))
LIMIT_S = 0.6
LINE = b"HTTP/1.1 200 OK\r\n"
# More than the buffers of a connection hold, and nothing that gzip could make small.
HUGE = Batch(
    (profile_of(row(Place(b64encode(os.urandom(4_500_000)).decode(), "", 1, 1), values=(1, 1))),)
)
# A request for each.
LARGE = Batch(
    tuple(
        profile_of(row(Place(os.urandom(700_000).hex(), "", 1, number + 1), values=(1, 1)))
        for number in range(4)
    )
)

every_exporter = pytest.mark.parametrize("name", NAMES)
over_http = pytest.mark.parametrize("name", OVER_HTTP)
DRIPS = {
    "in the status": dripping(b"HTTP/1.1 2", b"0", 0.05),
    "in a header": dripping(LINE + b"X-Long: ", b"x", 0.05),
    "in many headers": dripping(LINE, b"X: y\r\n", 0.05),
    "in informational answers": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05),
    "in the body": dripping(LINE + b"Content-Length: 100000\r\n\r\n", b"\x00", 0.05),
    "in chunks": dripping(LINE + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.05),
}
drips = pytest.mark.parametrize("react", DRIPS.values(), ids=DRIPS.keys())


def timed(name: str, url: str, batch: Batch = BATCH, **settings: Any) -> Outcome:
    """The outcome of an export that has `LIMIT_S`; it may not take longer."""
    with exporting(name, url, **settings) as exporter:
        began = time.monotonic()
        outcome = exporter.export(batch, timeout_s=LIMIT_S)
        assert time.monotonic() - began < LIMIT_S + NOISE_S
    return outcome


@over_http
@drips
def test_an_answer_that_drips(name: str, react: React) -> None:
    with serving(react) as address:
        # What has said 200 has taken it; what has not, may not have.
        assert timed(name, f"http://{address}").verdict in {"delivered", "retry"}


@over_http
def test_headers_that_drip_are_no_success(name: str) -> None:
    with serving(DRIPS["in a header"]) as address:
        assert timed(name, f"http://{address}").verdict == "retry"


@over_http
@drips
def test_an_answer_that_drips_over_tls(name: str, react: React, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with serving(react, authority.server().context()) as address:
        outcome = timed(name, f"https://{address}", certificate=authority.file)
    assert outcome.verdict in {"delivered", "retry"}


@every_exporter
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_answer_to_anything(name: str, scheme: str) -> None:
    with blackhole() as address:
        assert timed(name, f"{scheme}://{address}").verdict == "retry"


@every_exporter
def test_a_request_that_nobody_reads(name: str) -> None:
    with blackhole() as address:
        outcome = timed(name, f"http://{address}", HUGE)
    assert outcome.verdict == "retry"


@over_http
def test_a_request_that_nobody_reads_over_tls(name: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    # Reads a little, so that the handshake is over.
    with serving(answering(b""), authority.server().context()) as address:
        outcome = timed(name, f"https://{address}", HUGE, certificate=authority.file)
    assert outcome.verdict == "retry"


@over_http
def test_several_requests_share_the_time(name: str) -> None:
    """Each of them comes within the limit, all of them do not."""
    with http_receiver(then=Reply(body=b"\x00" * 4, drip_s=LIMIT_S / 8)) as receiver:
        assert timed(name, receiver.url, LARGE).verdict == "retry"
        assert 0 < len(receiver.requests) < len(LARGE.profiles)


@every_exporter
@pytest.mark.parametrize("after_bytes", [1, 10_000, 200_000])
def test_a_connection_that_is_reset(name: str, after_bytes: int) -> None:
    with serving(resetting(after_bytes)) as address:
        assert timed(name, f"http://{address}", LARGE).verdict == "retry"


@over_http
def test_a_connection_that_ends_before_the_answer(name: str) -> None:
    with http_receiver(Reply(hangs_up=True)) as receiver:
        assert timed(name, receiver.url).verdict == "retry"


@over_http
def test_a_kept_connection_that_has_ended_meanwhile_is_no_reason_to_wait(name: str) -> None:
    closing = Reply(headers=(("Connection", "close"),))
    with http_receiver(closing) as receiver, exporting(name, receiver.url) as exporter:
        for _ in range(2):
            assert exporter.export(BATCH, timeout_s=20.0).verdict == "delivered"


@over_http
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_request_that_is_read_slowly(name: str, scheme: str, tmp_path: Path) -> None:
    """Each sip is progress, so that no single call on the socket takes long."""
    authority = Authority(tmp_path)
    context = authority.server().context() if scheme == "https" else None
    with serving(sipping(2_000, 0.05), context) as address:
        outcome = timed(name, f"{scheme}://{address}", HUGE, certificate=authority.file)
    assert outcome.verdict == "retry"


@over_http
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_request_on_a_kept_connection_has_its_own_time(
    name: str, scheme: str, tmp_path: Path
) -> None:
    """Not what an earlier one, which had much, has left."""
    authority = Authority(tmp_path)
    context = authority.server().context() if scheme == "https" else None
    taken = LINE + b"Content-Length: 0\r\n\r\n"
    with (
        serving(sipping(2_000, 0.05, first=taken), context) as address,
        exporting(name, f"{scheme}://{address}", certificate=authority.file) as exporter,
    ):
        one = Batch(BATCH.profiles[:1])
        assert exporter.export(one, timeout_s=20.0).verdict == "delivered"
        began = time.monotonic()
        assert exporter.export(HUGE, timeout_s=LIMIT_S).verdict == "retry"
        assert time.monotonic() - began < LIMIT_S + NOISE_S


@over_http
def test_a_name_with_several_addresses_has_the_time_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unreachable() as first, unreachable() as second:
        _resolve_to(monkeypatch, first, second)
        assert timed(name, "http://several.example").verdict == "retry"


@over_http
@pytest.mark.parametrize("first", [refusing_port, unreachable])
def test_a_name_whose_first_address_does_not_answer_is_reached_by_the_second(
    name: str,
    first: Callable[[], AbstractContextManager[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with first() as useless, http_receiver() as receiver:
        _resolve_to(monkeypatch, useless, receiver.address)
        with exporting(name, "http://several.example") as exporter:
            assert exporter.export(BATCH, timeout_s=4.0).verdict == "delivered"


def _resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Whatever is asked for has these addresses."""
    ports = [int(address.rpartition(":")[2]) for address in addresses]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
    monkeypatch.setattr(socket, "getaddrinfo", Mock(return_value=found))
    monkeypatch.setenv("NO_PROXY", "*")
