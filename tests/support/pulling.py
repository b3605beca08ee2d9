"""Profilers that can be pulled from, and clients that say what they are told, also what no library would send."""

import http.client
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

import otelprof
from otelprof.formats import pprof
from otelprof.model import Profile
from otelprof.pull_settings import PullSettings, place_of
from tests.support.waiting import wait_until

TOKEN = "a token of tests".replace(" ", "-")
BEARER = {"Authorization": f"Bearer {TOKEN}"}
LOOPBACK = PullSettings("127.0.0.1:0", TOKEN)
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Told:
    """What came back.

    Attributes:
        status: 0 if nothing did.
    """

    status: int
    headers: "Message[str, str]" = field(default_factory=Message)
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def profiles(self) -> list[Profile]:
        """Of an answer that is one."""
        assert self.status == 200, self
        return pprof.decode(self.body)


@dataclass(frozen=True)
class Pulled:
    """Where a profiler listens.

    Attributes:
        path: of a Unix socket; else it is a port of `host`.
    """

    host: str = "127.0.0.1"
    port: int = 0
    path: str = ""

    def connect(self) -> socket.socket:
        """A connection over which nothing was sent."""
        if self.path:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(TIMEOUT_S)
            try:
                connection.connect(self.path)
            except OSError:
                connection.close()
                raise
            return connection
        return socket.create_connection((self.host, self.port), TIMEOUT_S)

    def get(self, path: str, headers: Mapping[str, str] = BEARER, *, method: str = "GET") -> Told:
        """What is answered to a request as other programs send it."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return self.send("\r\n".join((*lines, "", "")).encode())

    def send(self, request: bytes) -> Told:
        """What is answered to these bytes."""
        with self.connect() as connection:
            try:
                connection.sendall(request)
                return received(connection, is_head=request.startswith(b"HEAD "))
            except OSError:
                return Told(0)

    def profiles(self, path: str) -> list[Profile]:
        """The profiles below /debug/pprof/."""
        return self.get(f"/debug/pprof/{path}").profiles


def received(connection: socket.socket, *, is_head: bool = False) -> Told:
    """The answer that comes over a connection."""
    response = http.client.HTTPResponse(connection, method="HEAD" if is_head else "GET")
    try:
        response.begin()
        return Told(response.status, response.headers, response.read())
    except http.client.HTTPException:
        return Told(0)
    finally:
        response.close()


def pulls(profiler: otelprof.Profiler) -> dict[str, int]:
    """Its counters of connections, once they add up."""
    counts: dict[str, int] = {}

    def are_settled() -> bool:
        counts.clear()
        for name, count in profiler.health().items():
            if name.startswith("pull."):
                counts[name.removeprefix("pull.")] = count
        return not counts["open"] and not counts["taking"]

    wait_until(are_settled, what=f"no connection is open: {counts}")
    ended = counts["served"] + counts["refused"] + counts["unanswered"]
    assert counts["connections"] == ended, counts
    by_status = [count for name, count in counts.items() if name.startswith("refused.")]
    assert counts["refused"] == sum(by_status), counts
    return counts


@contextmanager
def pulling(
    settings: PullSettings = LOOPBACK, **more: Any
) -> Iterator[tuple[otelprof.Profiler, Pulled]]:
    """A profiler of this process that listens."""
    more.setdefault("exporters", ())
    with otelprof.Profiler(None, pull=settings, **more) as profiler:
        yield profiler, listening(profiler)


def listening(profiler: otelprof.Profiler) -> Pulled:
    """Where it listens, once it does."""
    wait_until(lambda: profiler.health()["pull.listening"], what="it listens")
    path = place_of(profiler.config.pull.address).path
    return Pulled(path=path) if path else Pulled(port=profiler.health()["pull.port"])


@contextmanager
def taking(
    profiler: otelprof.Profiler, count: int, *asked: Callable[[], Told]
) -> Iterator[list["Future[Told]"]]:
    """What is asked for, once the windows of `count` are open."""
    with ThreadPoolExecutor(len(asked)) as pool:
        futures = [pool.submit(each) for each in asked]
        # Not those that count as taken: they do before they have asked for their windows.
        wait_until(lambda: windows_of(profiler) == count, what=f"{count} windows are open")
        yield futures


def windows_of(profiler: otelprof.Profiler) -> int:
    """How many windows of readers are open."""
    return len(profiler._pipeline._readings._windows)
