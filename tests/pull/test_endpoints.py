"""What there is to be pulled follows from what is collected; a mistake in one of them ends nothing."""

import socket
from _socket import socket as Socket  # noqa: N812 - a class
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from otelprof.delivery.windows import Moment, Reader, Reading, Window
from otelprof.formats import pprof
from otelprof.pull.crew import Crew
from otelprof.pull.endpoints import Endpoint, Take, WindowOf, endpoints_of
from otelprof.pull.exchange import Exchange
from otelprof.pull_settings import PullPlace
from tests.support.pulling import TIMEOUT_S, Told, received
from tests.support.waiting import wait_until

ODD = 'käse"\r\nX: 1'


class Broken:
    """Raises what nobody expects, with something inside that is nobody's business."""

    description = "broken"

    def asked(self, parameters: Mapping[str, str]) -> tuple[str, Take]:
        raise ValueError("secret of the program's")


def over_at_once(reading: Reading) -> None:
    """A profiler that stops before it has looked."""
    if isinstance(reading, Window):
        reading.turn(Moment(1, 1), list)
        reading.end(Moment(2, 2))


@contextmanager
def answering(endpoints: Mapping[str, Endpoint]) -> Iterator[Crew]:
    crew = Crew(Exchange(endpoints, Reader(over_at_once), PullPlace(path="/there"), ""))
    yield crew
    crew.close()
    crew.finish(TIMEOUT_S)


def get(crew: Crew, path: str) -> Told:
    ours, theirs = socket.socketpair()
    with ours:
        ours.settimeout(TIMEOUT_S)
        crew.take(Socket(fileno=theirs.detach()))
        ours.sendall(f"GET /debug/pprof/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return received(ours)


def test_there_is_a_window_of_each_kind_that_is_collected_by_go_s_name_if_it_has_one() -> None:
    assert set(endpoints_of(["cpu", "wall"])) == {"profile", "wall", "goroutine"}
    assert set(endpoints_of(["queue"])) == {"queue", "goroutine"}


def test_a_kind_of_another_package_is_there_whatever_it_is_called() -> None:
    with answering(endpoints_of([ODD])) as crew:
        page = get(crew, "")
        told = get(crew, "k%C3%A4se%22%0D%0AX:%201?seconds=1")
    assert page.status == told.status == 200
    assert "käse&quot;" in page.text
    (profile,) = pprof.decode(told.body)
    assert len(profile) == 0
    assert "X" not in told.headers
    assert told.headers["Content-Disposition"] == 'attachment; filename="k_se___X__1"'


def test_a_mistake_is_said_once_and_the_client_is_told_nothing_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with answering({"broken": Broken(), "wall": WindowOf("wall")}) as crew:
        for _ in range(3):
            told = get(crew, "broken")
            assert (told.status, told.text) == (500, "otelprof: it could not be answered\n")
        assert get(crew, "").status == 200
        wait_until(lambda: not crew.statistics()["open"])
        assert crew.statistics()["refused.500"] == 3
    assert caplog.messages == ["otelprof: pull: a request could not be answered"]
