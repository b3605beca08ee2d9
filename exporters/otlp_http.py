"""OTLP/HTTP with binary protobuf."""

import gzip
from collections.abc import Sequence
from typing import TYPE_CHECKING

from otelprof.exporter_settings import OtlpSettings
from otelprof.exporters.http_client import HttpClient
from otelprof.exporters.otlp import accepted, hints_of
from otelprof.exporters.over_http import OverHttp
from otelprof.formats import otlp
from otelprof.interfaces import Exporter, Outcome
from otelprof.model import Profile

_GZIP_LEVEL = 6  # 9, which is the default, takes twice as long for 1 % less


class OtlpHttpExporter(OverHttp):
    """POSTs requests to the URL of the signal."""

    def __init__(self, settings: OtlpSettings, *, root_links: bool = False) -> None:
        self._is_gzip = settings.compression == "gzip"
        self._root_links = root_links
        super().__init__(
            settings, HttpClient(settings.endpoint, settings, hints=hints_of(settings))
        )

    def _encode(self, profiles: Sequence[Profile]) -> bytes:
        body = otlp.encode(profiles, root_links=self._root_links)
        return gzip.compress(body, _GZIP_LEVEL, mtime=0) if body and self._is_gzip else body

    def _send(self, body: bytes, timeout_s: float) -> Outcome:
        headers = {"Content-Type": "application/x-protobuf"}
        if self._is_gzip:
            headers["Content-Encoding"] = "gzip"
        return self._client.post(
            body,
            headers,
            timeout_s=timeout_s,
            accepted=lambda answer: accepted(answer, self._client.words),
        )


if TYPE_CHECKING:
    _checked: type[Exporter] = OtlpHttpExporter
