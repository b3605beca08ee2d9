"""HTTP as all exporters speak it: one POST, over in time, and its outcome.

Redirects are not followed: they would carry profiles and credentials to where nobody has configured them to go.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import unquote, urlsplit

import requests
from urllib3.exceptions import HTTPError

from otelprof.exporter_settings import (
    TENANT_HEADER,
    Headers,
    HttpSettings,
    OtlpSettings,
    PyroscopeSettings,
    secrets_in,
    shown_url,
)
from otelprof.exporters.bounded import BoundedAdapter, over_within
from otelprof.exporters.outcomes import (
    Hints,
    Words,
    of_status,
    retry_after_s,
    unreachable,
    unusable,
)
from otelprof.interfaces import DELIVERED, Outcome
from otelprof.version import USER_AGENT

MAX_ANSWER_BYTES = 64 * 1024  # an answer is a few bytes; more is not read

# Connections that a forked child inherited. Closing them would talk to the parent's peer, and being
# collected would close them, so they are kept.
_inherited: list[object] = []


class HttpClient:
    """POSTs to one URL. Used by one thread at a time.

    Args:
        url: where to. A user and a password in it become basic authentication.
        settings: whose headers, timeout and TLS files are used.
        headers: more of them, over which those of `settings` win.
        hints: known mistakes by status.
        secrets: what must not be in a reason, besides the values of the headers.
    """

    def __init__(
        self,
        url: str,
        settings: OtlpSettings | PyroscopeSettings | HttpSettings,
        *,
        headers: Headers = (),
        hints: Hints | None = None,
        secrets: Iterable[str] = (),
    ) -> None:
        self._url, credentials = _taken_apart(url)
        given = {
            **({"authorization": basic_authorization(*credentials)} if credentials else {}),
            **dict(headers),
            **dict(settings.headers),
        }
        self._headers = {
            "User-Agent": USER_AGENT,
            "Accept-Encoding": "identity",  # so that what is read of an answer is bounded
            **given,
        }
        self._settings = settings
        told = (value for name, value in given.items() if name != TENANT_HEADER)
        self.words = Words(shown_url(url), (*secrets, *secrets_in(url), *told), hints or {})
        self._session = _new_session()

    def post(
        self,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        accepted: Callable[[bytes], Outcome] = lambda _: DELIVERED,
    ) -> Outcome:
        """POST `body`; `accepted` makes an outcome of the answer to a request that was taken."""
        timeout_s = min(timeout_s, self._settings.timeout_s)
        tls = self._settings
        key = None if tls.client_key is None else str(tls.client_key)
        shown = None if tls.client_certificate is None else str(tls.client_certificate)
        try:
            with (
                over_within(timeout_s),
                self._session.post(
                    self._url,
                    data=body,
                    headers={**self._headers, **headers},
                    timeout=timeout_s,
                    verify=True if tls.certificate is None else str(tls.certificate),
                    cert=(shown, key) if shown and key else shown,
                    allow_redirects=False,
                    stream=True,
                ) as response,
            ):
                answer = _beginning(response)
                wait_s = retry_after_s(response.headers.get("Retry-After"))
        except (requests.ConnectionError, requests.Timeout) as error:
            return unreachable(self.words, _cause(error))
        except (requests.RequestException, ValueError) as error:
            # Only the kind: the text may show a header.
            return unusable(self.words, type(error).__name__)
        except OSError as error:  # a TLS file cannot be read; it may be written later
            return unreachable(self.words, str(error))
        text = answer.decode(errors="replace")
        outcome = of_status(response.status_code, text, wait_s, self.words)
        return accepted(answer) if outcome is DELIVERED else outcome

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def after_fork(self) -> None:
        """Leave the parent's connections alone."""
        _inherited.append(self._session)
        self._session = _new_session()


def _new_session() -> requests.Session:
    session = requests.Session()
    # Else `requests` would put what ~/.netrc has for the host in the place of a configured header.
    session.auth = lambda request: request
    adapter = BoundedAdapter()
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def _beginning(response: requests.Response) -> bytes:
    """The beginning of an answer; empty if it does not come in time, comes broken or in another encoding."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return b""  # against what was asked for, and not to be inflated without bound
    try:
        answer: bytes = response.raw.read(MAX_ANSWER_BYTES, decode_content=False)
    except (HTTPError, OSError):
        return b""
    return answer


def _taken_apart(url: str) -> tuple[str, tuple[str, ...]]:
    """`url` without user and password, and these two where it has them."""
    try:
        parts = urlsplit(url)
        user, password = parts.username, unquote(parts.password or "")
    except ValueError:
        return url, ()  # no URL, as requests will say
    if user is None:
        return url, ()
    address = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=address).geturl(), (unquote(user), password)


def basic_authorization(user: str, password: str) -> str:
    """The value of the header `Authorization` for basic authentication."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def _cause(error: BaseException) -> str:
    """What the system said, at the bottom of what `requests` and `urllib3` make of it."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return str(error) if isinstance(error, OSError) else type(error).__name__
