"""A WSGI service of two endpoints, to be run by gunicorn. Nothing in it knows of otelprof.

    otelprof run -- gunicorn app:app
    otelprof show --by span latest

    OTELPROF_EXPORTER=file opentelemetry-instrument gunicorn app:app
    otelprof show --by span otelprof-profiles

A framework (Flask, Django, FastAPI, …) needs no middleware: `opentelemetry-bootstrap -a install` installs what instruments it.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware


def count_primes(limit: int) -> int:
    return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(2, limit))


def hash_password(password: bytes) -> str:
    # In C and without the interpreter's lock: its time is this line's.
    return hashlib.pbkdf2_hmac("sha256", password, b"salt", 50_000).hex()


def service(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    match environ["PATH_INFO"]:
        case "/primes":
            answer, status = str(count_primes(20_000)), "200 OK"
        case "/login":
            answer, status = hash_password(b"secret"), "200 OK"
        case _:
            answer, status = "", "404 Not Found"
    start_response(status, [("Content-Length", str(len(answer)))])
    return [answer.encode()]


app = OpenTelemetryMiddleware(service)
