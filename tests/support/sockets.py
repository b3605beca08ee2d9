"""Addresses on 127.0.0.1 that behave badly below HTTP: nobody there, no answer, half an answer, an answer without end."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

_QUEUED_S = 0.3  # on loopback a connection that is not there at once, never is

React = Callable[[socket.socket, threading.Event], None]


@contextmanager
def refusing_port() -> Iterator[str]:
    """An address that refuses connections, and that nobody else can take meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


@contextmanager
def blackhole() -> Iterator[str]:
    """An address at which connections are accepted and nothing is ever read or answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as held:
        # The kernel accepts into the backlog; nobody reads.
        yield f"127.0.0.1:{held.getsockname()[1]}"


@contextmanager
def unreachable() -> Iterator[str]:
    """An address at which connections are neither accepted nor refused: the queue of the listener is full."""
    with ExitStack() as held:
        listener = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        while True:
            waiting = held.enter_context(socket.socket())
            waiting.settimeout(_QUEUED_S)
            try:
                waiting.connect(listener.getsockname())
            except TimeoutError:
                break
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def serving(react: React, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """An address at which `react` gets each connection and an event that is set at the end, in a thread of its own."""
    held = socket.create_server(("127.0.0.1", 0))
    is_closing = threading.Event()
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def handle(connection: socket.socket) -> None:
        try:
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
                connections.append(connection)
            react(connection, is_closing)
        except OSError:
            connection.close()  # the sender hung up, or the end has come

    def accept() -> None:
        while True:
            try:
                connection, _ = held.accept()
            except OSError:
                return  # closed
            connections.append(connection)
            threads.append(threading.Thread(target=handle, args=(connection,)))
            threads[-1].start()

    acceptor = threading.Thread(target=accept, name="serving")
    acceptor.start()
    try:
        yield f"127.0.0.1:{held.getsockname()[1]}"
    finally:
        is_closing.set()
        hang_up(held)  # wakes `accept`
        acceptor.join()
        for connection in connections:
            hang_up(connection)
        for thread in threads:
            thread.join()
        for connection in (held, *connections):
            connection.close()


def answering(answer: bytes, *, hangs_up: bool = False) -> React:
    """Answers whatever comes with these bytes."""

    def react(connection: socket.socket, is_closing: threading.Event) -> None:
        connection.recv(1 << 16)
        connection.sendall(answer)
        if hangs_up:
            hang_up(connection)
        else:
            is_closing.wait()

    return react


def dripping(answer: bytes, byte: bytes, every_s: float) -> React:
    """Answers with these bytes, and then with one byte more and more."""

    def react(connection: socket.socket, is_closing: threading.Event) -> None:
        connection.recv(1 << 16)
        connection.sendall(answer)
        while not is_closing.wait(every_s):
            connection.sendall(byte)

    return react


def sipping(size_bytes: int, every_s: float, *, first: bytes = b"") -> React:
    """Answers the first request with `first`, if that is something; reads the next in sips, and never answers."""

    def react(connection: socket.socket, is_closing: threading.Event) -> None:
        if first:
            with connection.makefile("rb") as request:
                lines = list(iter(request.readline, b"\r\n"))
                (length,) = (line for line in lines if line.lower().startswith(b"content-length:"))
                request.read(int(length.partition(b":")[2]))
            connection.sendall(first)
        while connection.recv(size_bytes) and not is_closing.wait(every_s):
            pass

    return react


def resetting(after_bytes: int) -> React:
    """Reads so many bytes of a request, and resets the connection."""

    def react(connection: socket.socket, is_closing: threading.Event) -> None:
        left = after_bytes
        while left > 0 and (received := connection.recv(left)):
            left -= len(received)
        # To linger for no time makes `close` send a reset.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    return react


@contextmanager
def raw_receiver(answer: bytes, *, hangs_up: bool = False) -> Iterator[str]:
    """An address at which every connection is answered with these bytes, whatever it sends."""
    with serving(answering(answer, hangs_up=hangs_up)) as address:
        yield address


def hang_up(connection: socket.socket) -> None:
    """End a connection, also one that another thread waits for."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other side was faster
