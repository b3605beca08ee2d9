"""The shop's supplier, which says what a product costs it: another service, so a process of its own that is not profiled.

It imports nothing but the standard library, since it runs by itself: ``python -I supplier.py SECONDS``, and takes so
long for an answer. It ends when its standard input does, and so never outlives the shop.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

HOST = "127.0.0.1"
END_TIMEOUT_S = 5.0

_READY = "supplier listening on "


@contextmanager
def running_supplier(answer_s: float) -> Iterator[str]:
    """The address of a supplier that takes `answer_s` seconds for an answer.

    Raises:
        RuntimeError: it did not start; what it said is on stderr.
    """
    # -I: neither what `opentelemetry-instrument` nor what `otelprof run` puts into the environment reaches it.
    command = [sys.executable, "-I", __file__, str(answer_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None  # noqa: S101 - they were asked for
        assert process.stdout is not None  # noqa: S101
        try:
            line = process.stdout.readline().decode()
            if not line.startswith(_READY):
                raise RuntimeError("the supplier did not start")
            yield line.removeprefix(_READY).strip()
        finally:
            process.stdin.close()
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


class _Supplier(ThreadingHTTPServer):
    """Answers after `answer_s` seconds, each connection in a thread of its own."""

    daemon_threads = True

    def __init__(self, answer_s: float) -> None:
        super().__init__((HOST, 0), _Request)
        self.answer_s = answer_s


class _Request(BaseHTTPRequestHandler):
    """``GET /price?product=7``."""

    server: _Supplier
    protocol_version = "HTTP/1.1"  # connections stay open
    disable_nagle_algorithm = (
        True  # head and body are two writes: the second would wait for an answer to the first
    )

    def do_GET(self) -> None:
        product = int(parse_qs(urlsplit(self.path).query)["product"][0])
        time.sleep(self.server.answer_s)
        body = json.dumps({"cost_cents": 400 + product * 7919 % 15_000}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Say nothing."""


def main() -> None:
    """Serve until the standard input ends."""
    with _Supplier(float(sys.argv[1])) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        print(f"{_READY}http://{HOST}:{server.server_address[1]}", flush=True)
        sys.stdin.buffer.read()
        server.shutdown()


if __name__ == "__main__":
    main()
