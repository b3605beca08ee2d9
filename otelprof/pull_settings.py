"""Where profiles can be pulled from, and by whom. `config.py` reads it; `otelprof/pull/` serves it.

What is not safe is refused, not warned about: whoever can connect could read the names of the program's functions,
its files and the labels of its samples.
"""

import re
from dataclasses import dataclass, field

from otelprof.errors import ConfigError

PID = "{pid}"  # in the path of a Unix socket
MIN_TOKEN_CHARS = 16  # nobody guesses one of random characters
_UNIX = "unix:"
_MAX_PATH_BYTES = 100  # sockaddr_un has 108 with the zero; a pid takes up to 7
_MAX_PORT, _MAX_PORTS = 65_535, 100
_LOCALHOST = "127.0.0.1"
_EXPECTED = (
    "expected 127.0.0.1:6060, [::1]:6060, 127.0.0.1:6060-6069, 6060 or unix:/run/shop/{pid}.sock"
)


@dataclass(frozen=True, slots=True)
class PullPlace:
    """Where to listen.

    Attributes:
        host: an IP address; empty for a Unix socket.
        ports: the first that is free is taken; (0,) for any.
        path: of a Unix socket, with `PID` for the process's id; else empty.
        is_loopback: only programs of this machine can connect.
    """

    host: str = ""
    ports: tuple[int, ...] = ()
    path: str = ""
    is_loopback: bool = True


@dataclass(frozen=True, slots=True)
class PullSettings:
    """Whether profiles can be pulled over HTTP. Read from `OTELPROF_PULL` and `OTELPROF_PULL_*`.

    Attributes:
        address: as `place_of` reads it; empty for nowhere.
        token: what clients have to show, as a bearer token or as the password of basic authentication.
        insecure: open also what is only as safe as the network and the users of this machine: an address of the
            network, since there is no TLS, with a token; loopback also without one.

    Raises:
        ConfigError: a value cannot be used, or `address` may not be opened with the others.
    """

    address: str = ""
    token: str = field(default="", repr=False)
    insecure: bool = False

    def __post_init__(self) -> None:
        try:
            if self.token:
                checked_token(self.token)
            if self.address:
                checked_address(self.address)
        except ValueError as error:
            raise ConfigError(f"pull: {error}") from error
        if reason := why_closed(self.address, self.token, insecure=self.insecure):
            raise ConfigError(f"pull.address: {self.address!r}: {reason}")


def why_closed(address: str, token: str, *, insecure: bool) -> str:
    """Why nothing listens at `address`, one that `checked_address` has let pass; empty if it may."""
    place = place_of(address) if address else None
    if place is None or place.path:
        return ""  # a Unix socket is for its owner
    if not token and not (place.is_loopback and insecure):
        switch = ", or OTELPROF_PULL_INSECURE=true" if place.is_loopback else ""
        return f"whoever can connect could read profiles; set OTELPROF_PULL_TOKEN{switch}"
    if not place.is_loopback and not insecure:
        return (
            "the token and profiles would cross the network without encryption; "
            "OTELPROF_PULL_INSECURE=true accepts that"
        )
    return ""


def checked_address(text: str) -> str:
    """`text`, if it is an address to listen at.

    Raises:
        ValueError: it is not.
    """
    place_of(text)
    return text


def checked_token(text: str) -> str:
    """`text`, if it can be a token: 16 visible ASCII characters or more.

    Raises:
        ValueError: it cannot; the message does not have it.
    """
    if not re.fullmatch(rf"[!-~]{{{MIN_TOKEN_CHARS},}}", text):
        raise ValueError(
            f"expected a token of {MIN_TOKEN_CHARS} or more visible ASCII characters without spaces"
        )
    return text


def place_of(text: str) -> PullPlace:
    """Where `text` says to listen.

    Raises:
        ValueError: it does not say that.
    """
    if text.startswith(_UNIX):
        return PullPlace(path=_checked_path(text.removeprefix(_UNIX)))
    match = re.fullmatch(
        r"(?:(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[0-9A-Za-z.-]+)):)?"
        r"(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?",
        text,
        re.ASCII,
    )
    if match is None:
        raise ValueError(_EXPECTED)
    from ipaddress import ip_address  # noqa: PLC0415 - for those who pull only

    name = match["six"] or match["host"] or _LOCALHOST
    host = _LOCALHOST if name == "localhost" else name
    try:
        is_loopback = ip_address(host).is_loopback
    except ValueError as error:
        raise ValueError(f"{name!r} is no IP address and not localhost; {_EXPECTED}") from error
    first = int(match["first"])
    last = int(match["last"] or first)
    if not first <= last <= _MAX_PORT or last - first >= _MAX_PORTS or (last and not first):
        raise ValueError(f"expected a port up to {_MAX_PORT}, or at most {_MAX_PORTS} in a range")
    return PullPlace(host, tuple(range(first, last + 1)), is_loopback=is_loopback)


def _checked_path(path: str) -> str:
    if not path.startswith("/") or path.endswith("/") or not path.isprintable():
        raise ValueError("expected an absolute path of a socket after unix:")
    if len(path.encode()) > _MAX_PATH_BYTES:
        raise ValueError(f"expected a path of at most {_MAX_PATH_BYTES} bytes after unix:")
    return path
