"""TLS: whom exporters trust, what they show, and that a mistake loses nothing."""

from pathlib import Path
from typing import Any

import pytest

from otelprof.interfaces import DELIVERED, Outcome
from otelprof.model import Batch
from tests.support.certificates import Authority, ServerTls
from tests.support.exporters import NAMES, TIMEOUT_S, exporting
from tests.support.profiles import cpu_and_wall
from tests.support.servers import GrpcReceiver, HttpReceiver, grpc_receiver, http_receiver

BATCH = Batch(tuple(cpu_and_wall()))
pytestmark = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def url_of(receiver: HttpReceiver | GrpcReceiver) -> str:
    return f"https://{receiver.address}"


def export(name: str, tls: ServerTls, **settings: Any) -> Outcome:
    """One export to a receiver with this certificate."""
    receiver = grpc_receiver(tls=tls) if name == "grpc" else http_receiver(tls=tls)
    with receiver as running, exporting(name, url_of(running), **settings) as exporter:
        outcome = exporter.export(BATCH, timeout_s=TIMEOUT_S)
        assert bool(running.requests) == (outcome.verdict == "delivered")
        return outcome


def test_an_authority_of_ones_own(name: str, authority: Authority) -> None:
    assert export(name, authority.server(), certificate=authority.file) == DELIVERED


def test_several_exports_share_a_connection(name: str, authority: Authority) -> None:
    tls = authority.server()
    receiver = grpc_receiver(tls=tls) if name == "grpc" else http_receiver(tls=tls)
    with receiver as running:
        with exporting(name, url_of(running), certificate=authority.file) as exporter:
            for _ in range(3):
                assert exporter.export(BATCH, timeout_s=TIMEOUT_S) == DELIVERED
        assert len({request.connection for request in running.requests}) == 1


def test_an_unknown_authority_gets_nothing_and_is_named(name: str, authority: Authority) -> None:
    outcome = export(name, authority.server())
    assert outcome.verdict == "retry"
    assert "certificate" in outcome.reason.lower()


def test_an_expired_certificate_gets_nothing(name: str, authority: Authority) -> None:
    outcome = export(name, authority.server(is_expired=True), certificate=authority.file)
    assert outcome.verdict == "retry"


def test_a_certificate_of_another_gets_nothing(name: str, authority: Authority) -> None:
    outcome = export(name, authority.server("other.example"), certificate=authority.file)
    assert outcome.verdict == "retry"


@pytest.mark.parametrize("in_one_file", [False, True])
def test_a_receiver_that_wants_a_certificate_is_shown_one(
    name: str, authority: Authority, in_one_file: bool
) -> None:
    certificate, key = authority.client()
    files: dict[str, Any] = {"client_certificate": certificate, "client_key": key}
    if in_one_file:
        certificate.write_bytes(certificate.read_bytes() + key.read_bytes())
        del files["client_key"]
    tls = authority.server(wants_client=True)
    assert export(name, tls, certificate=authority.file, **files) == DELIVERED


def test_a_receiver_that_wants_a_certificate_and_is_shown_none_takes_nothing(
    name: str, authority: Authority
) -> None:
    tls = authority.server(wants_client=True)
    assert export(name, tls, certificate=authority.file).verdict == "retry"


@pytest.mark.parametrize("field", ["certificate", "client_certificate"])
def test_a_file_that_is_not_there_is_named_and_waited_for(
    name: str, authority: Authority, field: str, tmp_path: Path
) -> None:
    files: dict[str, Any] = {"certificate": authority.file, field: tmp_path / "gone.pem"}
    outcome = export(name, authority.server(), **files)
    assert outcome.verdict == "retry"
    assert "gone.pem" in outcome.reason


@pytest.mark.parametrize("field", ["certificate", "client_certificate"])
def test_a_file_that_is_no_certificate_loses_nothing(
    name: str, authority: Authority, field: str, tmp_path: Path
) -> None:
    (tmp_path / "text.pem").write_text("not a certificate")
    files: dict[str, Any] = {"certificate": authority.file, field: tmp_path / "text.pem"}
    tls = authority.server(wants_client=field == "client_certificate")
    assert export(name, tls, **files).verdict == "retry"


def test_files_may_be_renewed(name: str, authority: Authority, tmp_path: Path) -> None:
    """The next connection has the new ones: an hour of a wrong authority loses nothing."""
    used = tmp_path / "used.pem"
    (tmp_path / "other").mkdir()
    used.write_bytes(Authority(tmp_path / "other").file.read_bytes())
    tls = authority.server()
    receiver = grpc_receiver(tls=tls) if name == "grpc" else http_receiver(tls=tls)
    with receiver as running, exporting(name, url_of(running), certificate=used) as exporter:
        assert exporter.export(BATCH, timeout_s=TIMEOUT_S).verdict == "retry"
        used.write_bytes(authority.file.read_bytes())
        assert exporter.export(BATCH, timeout_s=TIMEOUT_S) == DELIVERED
