"""Credentials go to the receiver and nowhere else."""

import logging
from base64 import b64encode

import pytest

from otelprof.interfaces import DELIVERED
from otelprof.model import Batch
from tests.support.exporters import NAMES, OVER_HTTP, TIMEOUT_S, exporting, settings_of
from tests.support.profiles import cpu_and_wall
from tests.support.servers import GrpcReply, Reply, grpc_receiver, http_receiver
from tests.support.sockets import refusing_port

BATCH = Batch(tuple(cpu_and_wall()))
SECRET = "canary6d73"  # noqa: S105 - it is looked for
BASIC = "Basic " + b64encode(f"bob:{SECRET}".encode()).decode()

every_exporter = pytest.mark.parametrize("name", NAMES)
over_http = pytest.mark.parametrize("name", OVER_HTTP)


@over_http
def test_a_user_in_the_url_is_basic_authentication(name: str) -> None:
    with http_receiver() as receiver:
        url = receiver.url.replace("//", f"//bob:{SECRET}@")
        with exporting(name, url) as exporter:
            assert exporter.export(BATCH, timeout_s=TIMEOUT_S) == DELIVERED
        assert {request.headers["authorization"] for request in receiver.requests} == {BASIC}
        assert all("bob" not in request.headers["host"] for request in receiver.requests)


@over_http
def test_a_configured_header_wins_over_it(name: str) -> None:
    with http_receiver() as receiver:
        url = receiver.url.replace("//", "//bob:other@")
        headers = (("authorization", "Bearer mine"),)
        with exporting(name, url, headers=headers) as exporter:
            exporter.export(BATCH, timeout_s=TIMEOUT_S)
        assert receiver.requests[0].headers["authorization"] == "Bearer mine"


@every_exporter
@pytest.mark.parametrize("where", ["url", "query", "header", "bad header"])
def test_are_in_no_reason_no_log_line_and_no_destination(
    name: str, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The receiver repeats what it gets, as debugging ones do."""
    caplog.set_level(logging.DEBUG)
    said = f"you sent {SECRET} and {BASIC}"
    refusing = (
        grpc_receiver(then=GrpcReply("PERMISSION_DENIED", said))
        if name == "grpc"
        else http_receiver(then=Reply(403, body=said.encode()))
    )
    with refusing as receiver, refusing_port() as nobody:
        for address in (receiver.address, nobody):
            url, headers = f"http://{address}", [("x-other", BASIC)]
            match where:
                case "url":
                    url = f"http://bob:{SECRET}@{address}"
                case "query":
                    headers.append(("x-key", SECRET))
                    url = f"http://{address}/?key={SECRET}"
                case "header":
                    headers.append(("authorization", f"Bearer {SECRET}"))
                case _:
                    headers.append(("x-bad", f"{SECRET}\r\nx: y"))
            with exporting(name, url, headers=tuple(headers)) as exporter:
                outcome = exporter.export(BATCH, timeout_s=TIMEOUT_S)
                assert outcome.verdict in {"refused", "retry"}
                for text in (outcome.reason, exporter.destination):
                    assert SECRET not in text
                    assert BASIC not in text
    ours = [record for record in caplog.records if record.name.startswith("otelprof")]
    assert not any(SECRET in record.getMessage() for record in ours)


@every_exporter
def test_are_not_in_the_text_of_settings(name: str) -> None:
    with exporting(name, "http://host:1", headers=(("key", SECRET),)):
        pass
    assert "headers" not in repr(settings_of(name, "http://host:1"))


@every_exporter
def test_a_destination_says_where_and_for_whom(name: str) -> None:
    destinations = set[str]()
    for url in ("http://one:1", "http://two:1"):
        for tenant in ("a", "b"):
            with exporting(name, url, headers=(("x-scope-orgid", tenant),)) as exporter:
                destinations.add(exporter.destination)
    assert len(destinations) == 4
