"""Grafana Pyroscope, by its push API: `push.v1.PusherService/Push` over HTTP.

A request has one profile. Pyroscope takes the profiles of a request one by one and answers with an error if one of them
fails, so that of several nobody knew which are in.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from otelprof.config import Config
from otelprof.exporter_settings import TENANT_HEADER, PyroscopeSettings
from otelprof.exporters.http_client import HttpClient, basic_authorization
from otelprof.exporters.over_http import OverHttp
from otelprof.exporters.pyroscope_labels import SampleLabels, series_labels
from otelprof.exporters.splitting import LIMITS
from otelprof.formats import pprof, push
from otelprof.interfaces import Exporter, Outcome
from otelprof.model import Profile

PATH = "/push.v1.PusherService/Push"

_CREDENTIALS_HINT = (
    "are OTELPROF_PYROSCOPE_TENANT, _USER and _PASSWORD, or _TOKEN what the receiver wants?"
)
_HINTS: dict[int | str, str] = {
    **dict.fromkeys((401, 403), _CREDENTIALS_HINT),
    404: "is OTELPROF_PYROSCOPE_ENDPOINT the base URL of a Pyroscope?",
}


def from_config(config: Config) -> Exporter:
    """The exporter for `OTELPROF_PYROSCOPE_*`."""
    return PyroscopeExporter(config.pyroscope, root_spans=config.span_id == "root")


class PyroscopeExporter(OverHttp):
    """Pushes each profile with the labels of its series.

    Args:
        settings: see there.
        root_spans: samples are found by the local root of their span, not by the span.
    """

    def __init__(self, settings: PyroscopeSettings, *, root_spans: bool = False) -> None:
        self._allowed = settings.labels
        self._sample_labels = SampleLabels(settings.sample_labels, root_spans=root_spans)
        client = HttpClient(
            settings.endpoint.rstrip("/") + PATH,
            settings,
            headers=_headers(settings),
            hints=_HINTS,
            secrets=(settings.password, settings.token),
        )
        super().__init__(settings, client, LIMITS._replace(max_profiles=1))

    def _encode(self, profiles: Sequence[Profile]) -> bytes:
        profile = self._sample_labels.applied(profiles[0])
        labels = series_labels(profile, self._allowed)
        return push.encode(labels, pprof.encode([profile]), profile.profile_id)

    def _send(self, body: bytes, timeout_s: float) -> Outcome:
        return self._client.post(body, {"Content-Type": "application/proto"}, timeout_s=timeout_s)


def _headers(settings: PyroscopeSettings) -> tuple[tuple[str, str], ...]:
    headers = {TENANT_HEADER: settings.tenant}
    if settings.token:
        headers["authorization"] = f"Bearer {settings.token}"
    elif settings.user or settings.password:
        headers["authorization"] = basic_authorization(settings.user, settings.password)
    return tuple((name, value) for name, value in headers.items() if value)


if TYPE_CHECKING:
    _checked: type[Exporter] = PyroscopeExporter
