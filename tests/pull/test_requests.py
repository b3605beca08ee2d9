"""What is sent that is no request, too long, too slow or too much: it gets a clear answer, or none, and others go on."""

import random
import socket
import time
from contextlib import ExitStack

import pytest

from otelprof.pull.crew import MAX_THREADS
from otelprof.pull.exchange import MAX_TAKEN
from otelprof.pull.request import HEAD_TIMEOUT_S, MAX_HEAD_BYTES, MAX_HEADERS, MAX_LINE_BYTES
from tests.support.pulling import TOKEN, pulling, pulls, received, taking
from tests.support.waiting import wait_until

GARBAGE = 1_000
IDLE = 500
NOISE_S = 20.0  # how late a busy machine may be

AUTHORIZED = f"Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"


def request(line: str = "GET /debug/pprof/ HTTP/1.1", more: str = "") -> bytes:
    return f"{line}\r\n{AUTHORIZED}{more}\r\n".encode("latin-1")


WHOLE = {
    "a request": (request(), 200),
    "an older version": (request("GET /debug/pprof/ HTTP/1.0"), 200),
    "a body of nothing": (request(more="Content-Length: 0\r\n"), 200),
    "a full address": (request("GET http://localhost/debug/pprof/ HTTP/1.1"), 200),
    "an escaped path": (request("GET /debug/p%70rof/ HTTP/1.1"), 200),
    "without the slash": (request("GET /debug/pprof HTTP/1.1"), 301),
    "nothing but a line": (b"GET /debug/pprof/\r\n\r\n", 400),
    "no version": (request("GET /debug/pprof/"), 400),
    "HTTP/2": (request("PRI * HTTP/2.0"), 505),
    "a bad version": (request("GET /debug/pprof/ HTTP/x"), 400),
    "too many words": (request("GET /debug/pprof/ a HTTP/1.1"), 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "SSH": (b"ssh-2.0-x\r\n", 400),
    "a body": (request(more="Content-Length: 3\r\n"), 400),
    "a length that is none": (request(more="Content-Length: x\r\n"), 400),
    "chunks": (request(more="Transfer-Encoding: chunked\r\n"), 400),
    "two requests at once": (request() + request(), 400),
    "two lengths": (request(more="Content-Length: 0\r\nContent-Length: 0\r\n"), 400),
    "two tokens": (request(more="Authorization: Bearer x\r\n"), 400),
    "a line that is no header": (request(more="no header\r\nOrigin: http://a.page\r\n"), 400),
    "a header that goes on": (request(more="X: a\r\n b\r\n"), 400),
    "a space before the colon": (request(more="Content-Length : 3\r\n"), 400),
    "a bare line feed": (request(more="X: a\nOrigin: http://a.page\r\n"), 400),
    "a path of no UTF-8": (request("GET /debug/pprof/%ff HTTP/1.1"), 400),
    "a long line": (request(f"GET /{'x' * MAX_LINE_BYTES} HTTP/1.1"), 414),
    "a line without end": (b"GET /" + b"x" * (MAX_LINE_BYTES + 1), 414),
    "long headers": (request(more=f"X: {'x' * MAX_HEAD_BYTES}\r\n"), 431),
    "headers without end": (request()[:-2] + b"X: x\r\n" * 4_000, 431),
    "many headers": (request(more="X: x\r\n" * MAX_HEADERS), 431),
    "very many headers": (request(more="X: x\r\n" * 200), 431),
}


def test_what_is_sent_is_read_strictly() -> None:
    with pulling() as (profiler, pulled):
        told = {name: pulled.send(sent) for name, (sent, _) in WHOLE.items()}
        counts = pulls(profiler)
    assert {name: each.status for name, each in told.items()} == {
        name: status for name, (_, status) in WHOLE.items()
    }
    for name, each in told.items():
        if each.status >= 400:
            assert each.text.startswith("otelprof: "), name
            assert each.text.isascii(), name
            assert len(each.text) < 300, name
    assert counts["served"] == sum(status < 400 for _, status in WHOLE.values())


QUERIES = {
    "profile?seconds=": "seconds: '' is not a whole number from 1 to 300",
    "profile?seconds=0": "seconds: '0' is not",
    "profile?seconds=301": "seconds: '301' is not",
    "profile?seconds=1.5": "seconds: '1.5' is not",
    "profile?seconds=-1": "seconds: '-1' is not",
    "profile?seconds=1e1": "seconds: '1e1' is not",
    "profile?seconds=%D9%A1": r"seconds: '\u0661' is not",
    "profile?seconds=" + "9" * 5_000: "seconds: '99999",
    "profile?seconds": "query: 'seconds' is not name=value",
    "profile?seconds=1&seconds=2": "query: 'seconds=1&seconds=2' has a name twice",
    "profile?" + "&".join(f"a{n}=1" for n in range(9)): "is not name=value",
    "profile?seconds=1&debug=1": "'debug': there is no such parameter, only seconds",
    "profile?%ff=1": "query: '%ff=1' is not",
    "wall?hz=100": "'hz': there is no such parameter, only seconds",
    "goroutine?debug=3": "debug: '3' is not a whole number from 0 to 2",
    "goroutine?seconds=1": "'seconds': there is no such parameter, only debug",
    "profile?<script>=1": "'<script>': there is no such parameter",
}


def test_a_query_that_cannot_be_used_is_named_by_part_and_value() -> None:
    with pulling() as (_, pulled):
        for query, reason in QUERIES.items():
            told = pulled.get(f"/debug/pprof/{query}")
            assert (told.status, told.headers["Content-Type"][:10]) == (400, "text/plain"), query
            assert reason in told.text, told.text


@pytest.mark.parametrize("path", ["heap", "allocs", "mutex", "block", "cmdline", "symbol", "trace"])
def test_what_is_not_there_is_answered_with_what_is(path: str) -> None:
    with pulling(collect=("wall",)) as (_, pulled):
        told = pulled.get(f"/debug/pprof/{path}")
    assert told.status == 404
    names = "/debug/pprof/, /debug/pprof/goroutine, /debug/pprof/wall"
    assert told.text == f"otelprof: '/debug/pprof/{path}': there is only {names}\n"


def test_garbage_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(7)
    whole = request("GET /debug/pprof/goroutine?debug=1 HTTP/1.1")
    with pulling() as (profiler, pulled):
        for number in range(GARBAGE):
            sent = bytearray(whole)
            if number % 2:
                sent = bytearray(chance.randbytes(chance.randrange(1, 300)))
            else:
                for _ in range(chance.randrange(1, 4)):
                    sent[chance.randrange(len(sent))] = chance.randrange(256)
            with pulled.connect() as connection:
                try:
                    connection.sendall(sent)
                    connection.shutdown(socket.SHUT_WR)
                    told = received(connection)
                except OSError:
                    continue
            assert told.status in {0, 200, 400, 401, 404, 405, 414, 421, 431, 505}, bytes(sent)
        assert pulled.get("/debug/pprof/").status == 200
        assert pulls(profiler)["connections"] == GARBAGE + 1
    assert caplog.messages == []


def test_who_says_nothing_does_not_keep_others_out() -> None:
    with pulling() as (profiler, pulled), ExitStack() as stack:
        for _ in range(IDLE):
            stack.enter_context(pulled.connect())
        began = time.monotonic()
        assert pulled.get("/debug/pprof/goroutine").status == 200
        assert time.monotonic() - began < NOISE_S
        wait_until(lambda: profiler.health()["pull.connections"] == IDLE + 1)
        # All but those that fit have been hung up on; these are, too, once their time is over.
        assert profiler.health()["pull.open"] <= MAX_THREADS
        assert pulls(profiler)["unanswered"] >= IDLE - MAX_THREADS


def test_who_drips_is_given_five_seconds() -> None:
    with pulling() as (profiler, pulled), pulled.connect() as connection:
        began = time.monotonic()
        connection.settimeout(0.05)
        sent, answer = 0, b""
        while not answer:
            try:
                connection.sendall(b"GET /x"[sent : sent + 1] or b"x")
                sent += 1
                answer = connection.recv(1_000)
            except TimeoutError:
                assert time.monotonic() - began < HEAD_TIMEOUT_S + NOISE_S
        assert answer.startswith(b"HTTP/1.1 408 ")
        connection.close()
        assert pulls(profiler)["refused.408"] == 1


def test_more_profiles_at_a_time_than_there_is_room_for_are_put_off() -> None:
    with pulling() as (profiler, pulled):
        wanted = [lambda: pulled.get("/debug/pprof/wall?seconds=300")] * MAX_TAKEN
        with taking(profiler, MAX_TAKEN, *wanted) as futures:
            told = pulled.get("/debug/pprof/wall?seconds=1")
            assert (told.status, told.headers["Retry-After"]) == (503, "5")
            assert pulled.get("/debug/pprof/").status == 200
            profiler.stop()
            assert [future.result().status for future in futures] == [200] * MAX_TAKEN


def test_a_client_that_hangs_up_is_not_worked_for_any_longer() -> None:
    with pulling() as (profiler, pulled):
        with pulled.connect() as connection:
            connection.sendall(request("GET /debug/pprof/wall?seconds=300 HTTP/1.1"))
            wait_until(lambda: profiler.health()["pull.taking"])
        counts = pulls(profiler)
        assert (counts["unanswered"], counts["served"]) == (1, 0)
        profiler.flush()
        assert profiler._pipeline._readings._windows == []
