"""What exporters have in common that send by HTTP: the requests of a batch, and one client that sends them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from otelprof.exporter_settings import HttpSettings, OtlpSettings, PyroscopeSettings
from otelprof.exporters.http_client import HttpClient
from otelprof.exporters.outbox import Outbox
from otelprof.exporters.splitting import LIMITS, Limits
from otelprof.interfaces import Outcome
from otelprof.model import Batch, Profile


class OverHttp(ABC):
    """Encodes batches in requests and sends each once.

    Args:
        settings: whose `destination` and `timeout_s` are the exporter's.
        client: sends them; closed with the exporter.
        limits: what fits into one.
    """

    def __init__(
        self,
        settings: OtlpSettings | PyroscopeSettings | HttpSettings,
        client: HttpClient,
        limits: Limits = LIMITS,
    ) -> None:
        self.destination = settings.destination
        self.timeout_s = settings.timeout_s
        self._client = client
        self._outbox = Outbox(self._encode, self._send, limits)

    def export(self, batch: Batch, *, timeout_s: float) -> Outcome:
        """Send `batch` in as many requests as the limits need."""
        return self._outbox.export(batch, timeout_s=timeout_s)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def after_fork(self) -> None:
        """Leave the parent's connections and batch alone."""
        self._outbox.forget()
        self._client.after_fork()

    @abstractmethod
    def _encode(self, profiles: Sequence[Profile]) -> bytes:
        """The body of a request."""

    @abstractmethod
    def _send(self, body: bytes, timeout_s: float) -> Outcome:
        """Send one body within so many seconds."""
