"""A plain POST of pprof."""

import pytest

from otelprof.config import Config
from otelprof.errors import ExporterError
from otelprof.exporter_settings import HttpSettings
from otelprof.exporters.http import from_config
from otelprof.formats import pprof
from otelprof.interfaces import DELIVERED
from otelprof.model import Batch
from otelprof.version import __version__
from tests.support.exporters import TIMEOUT_S, exporting
from tests.support.profiles import cpu_and_wall
from tests.support.random_profiles import random_profile
from tests.support.servers import Reply, http_receiver

BATCH = Batch(tuple(cpu_and_wall()))


def test_the_profiles_of_a_flush_are_one_file() -> None:
    with http_receiver() as receiver, exporting("http", receiver.url) as exporter:
        assert exporter.export(BATCH, timeout_s=TIMEOUT_S) == DELIVERED
        (request,) = receiver.requests
    assert request.path == "/pprof"
    assert request.headers["content-type"] == "application/octet-stream"
    assert "content-encoding" not in request.headers  # the file is gzip, not the request
    assert request.headers["user-agent"].startswith(f"otelprof/{__version__} ")
    weights = {p.kind: sum(p.values[-1]) for p in pprof.decode(request.body)}
    assert weights == {"cpu": 70_000_000, "wall": 130_000_000}


def test_what_is_too_large_for_one_leaves_in_several() -> None:
    profile = random_profile(17_000, depth=20)
    with http_receiver() as receiver, exporting("http", receiver.url) as exporter:
        assert exporter.export(Batch((profile,)), timeout_s=60.0) == DELIVERED
        parts = [pprof.decode(request.body)[0] for request in receiver.requests]
    assert len(parts) > 1
    assert sum(sum(part.column("cpu")) for part in parts) == sum(profile.column("cpu"))


def test_headers_are_sent() -> None:
    headers = (("x-service", "shop"), ("content-type", "text/plain"))
    with http_receiver() as receiver:
        with exporting("http", receiver.url, headers=headers) as exporter:
            exporter.export(BATCH, timeout_s=TIMEOUT_S)
        sent = receiver.requests[0].headers
    assert sent["x-service"] == "shop"
    assert sent["content-type"] == "application/octet-stream"  # it is what it is


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_success_is_one(status: int) -> None:
    with http_receiver(Reply(status)) as receiver, exporting("http", receiver.url) as exporter:
        assert exporter.export(BATCH, timeout_s=TIMEOUT_S) == DELIVERED


def test_a_wrong_url_hints_at_it() -> None:
    with http_receiver(Reply(404)) as receiver, exporting("http", receiver.url) as exporter:
        outcome = exporter.export(BATCH, timeout_s=TIMEOUT_S)
    assert outcome.verdict == "refused"
    assert "OTELPROF_HTTP_ENDPOINT" in outcome.reason


def test_without_an_endpoint_the_setting_is_named() -> None:
    with pytest.raises(ExporterError, match="OTELPROF_HTTP_ENDPOINT"):
        from_config(Config(http=HttpSettings()))
