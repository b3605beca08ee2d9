"""A plain HTTP POST of pprof: to a Collector's pprof receiver, to a service of one's own, to whatever takes a file.

The body is what a file would be: gzip of the profiles of a flush together, unless they are too large for one request.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from otelprof.config import Config
from otelprof.errors import ExporterError
from otelprof.exporter_settings import HttpSettings
from otelprof.exporters.http_client import HttpClient
from otelprof.exporters.over_http import OverHttp
from otelprof.formats import pprof
from otelprof.interfaces import Exporter, Outcome
from otelprof.model import Profile

_HINTS: dict[int | str, str] = {
    **dict.fromkeys((401, 403), "is OTELPROF_HTTP_HEADERS right, or the client certificate?"),
    404: "is OTELPROF_HTTP_ENDPOINT the whole URL?",
}


def from_config(config: Config) -> Exporter:
    """The exporter for `OTELPROF_HTTP_*`.

    Raises:
        ExporterError: there is no endpoint.
    """
    if not config.http.endpoint:
        raise ExporterError("http: OTELPROF_HTTP_ENDPOINT is not set; it is the URL to post to")
    return HttpExporter(config.http)


class HttpExporter(OverHttp):
    """POSTs pprof."""

    def __init__(self, settings: HttpSettings) -> None:
        super().__init__(settings, HttpClient(settings.endpoint, settings, hints=_HINTS))

    def _encode(self, profiles: Sequence[Profile]) -> bytes:
        return pprof.encode(profiles)

    def _send(self, body: bytes, timeout_s: float) -> Outcome:
        headers = {"Content-Type": "application/octet-stream"}
        return self._client.post(body, headers, timeout_s=timeout_s)


if TYPE_CHECKING:
    _checked: type[Exporter] = HttpExporter
