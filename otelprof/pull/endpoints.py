"""What there is below /debug/pprof/: an endpoint for each kind of profile that is collected, and those of a moment.

A kind of profile is there as soon as a collector has it, as a window of the seconds that are asked for. What is no
such window (the threads now; a heap as it is) is a class of its own in `_OF_A_MOMENT`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from http import HTTPStatus
from typing import Protocol

from otelprof.builder import ProfileBuilder, merged
from otelprof.delivery.windows import Reader, Window
from otelprof.formats import pprof
from otelprof.model import COUNT, KINDS, Profile, ValueType
from otelprof.pull.answers import HTML, PPROF, Answer, Refused, shown
from otelprof.pull.threads_now import ThreadsNow

ROOT = "/debug/pprof/"
DEFAULT_SECONDS = 30  # as in Go
MAX_SECONDS = 300
WORKER_TIMEOUT_S = 10.0  # for the worker to do what it was asked for; it may be busy with a flush

# What scrapers ask for, by the kind that it holds. A kind that is not here has the same name for them.
_NAMES_IN_GO = {"cpu": "profile"}
_ASKED_IN_VAIN = (
    HTTPStatus.SERVICE_UNAVAILABLE,
    "the profiler has not answered in time; it is busy, or stops",
    (("Retry-After", "5"),),
)

Wait = Callable[[float], None]


class Take(Protocol):
    """Takes the profile that was asked for."""

    def __call__(self, reader: Reader, wait: Wait) -> bytes:
        """The body of the answer. `wait` waits for so many seconds, less where the profiler stops.

        Raises:
            Gone: the client has hung up meanwhile.
            Refused: the profile cannot be had now.
        """
        ...


class Endpoint(Protocol):
    """One name below `ROOT`. Called from several threads at a time."""

    @property
    def description(self) -> str:
        """A sentence for the page that lists what there is."""
        ...

    def asked(self, parameters: Mapping[str, str]) -> tuple[str, Take]:
        """The content type of what these parameters ask for, and how it is taken.

        Raises:
            Refused: a parameter is none, or has a value that cannot be used; the reason names both.
        """
        ...


@dataclass(frozen=True, slots=True)
class WindowOf:
    """The profiles of a kind from now on, for the seconds that are asked for."""

    kind: str

    @property
    def description(self) -> str:
        """As `Endpoint.description`."""
        what = {"cpu": "CPU time", "wall": "Wall-clock time, running or blocked,"}
        described = what.get(self.kind, f"Profile of the kind {self.kind}")
        return f"{described} for ?seconds=N, {DEFAULT_SECONDS} by default, at most {MAX_SECONDS}."

    def asked(self, parameters: Mapping[str, str]) -> tuple[str, Take]:
        """As `Endpoint.asked`."""
        check_names(parameters, "seconds")
        seconds = number_in(parameters, "seconds", range(1, MAX_SECONDS + 1), DEFAULT_SECONDS)

        def take(reader: Reader, wait: Wait) -> bytes:
            return self._take(seconds, reader, wait)

        return PPROF, take

    def _take(self, seconds: int, reader: Reader, wait: Wait) -> bytes:
        window = reader.open_window(self.kind, WORKER_TIMEOUT_S)
        if window is None:
            raise Refused(*_ASKED_IN_VAIN)
        try:
            wait(seconds)
        except BaseException:
            window.abandon()
            raise
        if not reader.close_window(window, WORKER_TIMEOUT_S):
            raise Refused(*_ASKED_IN_VAIN)
        return pprof.encode(_profiles_of(window))


class OfThreads:
    """What each thread does now."""

    description = "What each thread does now; ?debug=1 as text."

    def asked(self, parameters: Mapping[str, str]) -> tuple[str, Take]:
        """As `Endpoint.asked`."""
        check_names(parameters, "debug")
        debug = number_in(parameters, "debug", range(3), 0)
        now = ThreadsNow(is_text=bool(debug))

        def take(reader: Reader, wait: Wait) -> bytes:
            del wait
            left = reader.processed(now.profile(), WORKER_TIMEOUT_S)
            if left is None:
                raise Refused(*_ASKED_IN_VAIN)
            return now.encode(left)

        return now.content_type, take


_OF_A_MOMENT: Mapping[str, Callable[[], Endpoint]] = {"goroutine": OfThreads}


def endpoints_of(kinds: Sequence[str]) -> dict[str, Endpoint]:
    """Those of a profiler that collects `kinds`, by name."""
    windows: dict[str, Endpoint] = {
        _NAMES_IN_GO.get(kind, kind): WindowOf(kind) for kind in sorted(kinds)
    }
    return windows | {name: build() for name, build in _OF_A_MOMENT.items()}


def index(endpoints: Mapping[str, Endpoint]) -> Answer:
    """The page that lists them."""
    rows = "".join(
        f'<dt><a href="{escape(name)}">{escape(name)}</a></dt><dd>{escape(endpoint.description)}</dd>'
        for name, endpoint in sorted(endpoints.items())
    )
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>otelprof</title>'
        f"<h1>{ROOT}</h1><p>Profiles of this process, as pprof.</p><dl>{rows}</dl></html>\n"
    )
    return Answer(HTTPStatus.OK, HTML, page.encode())


def check_names(parameters: Mapping[str, str], *known: str) -> None:
    """Let `parameters` pass if they are among `known`.

    Raises:
        Refused: one is not.
    """
    for name in parameters:
        if name not in known:
            reason = f"{shown(name)}: there is no such parameter, only {', '.join(known)}"
            raise Refused(HTTPStatus.BAD_REQUEST, reason)


def number_in(parameters: Mapping[str, str], name: str, allowed: range, default: int) -> int:
    """The whole number that a parameter has.

    Raises:
        Refused: it is none of `allowed`.
    """
    text = parameters.get(name, str(default))
    if text.isascii() and text.isdecimal() and len(text) < 6 and int(text) in allowed:  # noqa: PLR2004 - no long number is read
        return int(text)
    reason = f"{name}: {shown(text)} is not a whole number from {allowed[0]} to {allowed[-1]}"
    raise Refused(HTTPStatus.BAD_REQUEST, reason)


def _profiles_of(window: Window) -> list[Profile]:
    """One profile, of exactly the window's time; several where the rate has changed and nothing says how to add up."""
    profiles = merged(window.profiles()) or [_nothing_of(window.kind)]
    start_unix_ns, duration_ns = window.start_unix_ns, window.duration_ns
    return [replace(p, start_unix_ns=start_unix_ns, duration_ns=duration_ns) for p in profiles]


def _nothing_of(kind: str) -> Profile:
    """A profile without samples: the process may have done nothing, which is an answer, too."""
    value_types = KINDS.get(kind, (ValueType("samples", COUNT),))
    return ProfileBuilder(value_types).build(
        kind=kind, start_unix_ns=0, duration_ns=0, period_type=value_types[-1], period=1
    )
