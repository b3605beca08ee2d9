"""Programs run to their end in processes of their own, and the profiles that they leave."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otelprof.formats import pprof, spans_jsonl
from otelprof.model import Profile, SpanRecord
from tests.support import core
from tests.support.files import files_below

TIMEOUT_S = 60.0  # after which a program hangs
OTELPROF = str(Path(sys.executable).with_name("otelprof"))
INSTRUMENT = str(Path(sys.executable).with_name("opentelemetry-instrument"))
NO_SPAN, UNKNOWN = "(none)", "(unknown)"

_ROOT = Path(__file__).parents[2]
_TARGETS = _ROOT / "tests" / "targets"
_OURS = ("OTEL_", "OTELPROF_")
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})


@dataclass(frozen=True)
class Finished:
    """A program that has ended.

    Attributes:
        code: the exit code; minus the signal that ended it.
        reaped_ns: when it was gone, by the monotonic clock, which all processes share.
    """

    code: int
    out: str
    err: str
    reaped_ns: int

    @property
    def facts(self) -> dict[str, Any]:
        """What the program said about itself: its last line of output, in JSON."""
        assert self.out.strip(), self.err
        facts: dict[str, Any] = json.loads(self.out.strip().splitlines()[-1])
        return facts

    @property
    def said(self) -> list[str]:
        """The lines on stderr, without those of Python's warnings."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        return [
            line
            for at, line in enumerate(lines)
            if "Warning: " not in line and not (at and "Warning: " in lines[at - 1])
        ]


@dataclass(frozen=True)
class Left:
    """A profile that a program left, and the spans beside it."""

    profiles: list[Profile]
    spans: list[SpanRecord]

    def labels(self, kind: str = "cpu") -> dict[str, Counter[str]]:
        """For each function, by its bare name, the time on the stack by the name of the sample's span."""
        names = {(span.trace_id, span.span_id): span.name for span in self.spans}
        found: dict[str, Counter[str]] = {}
        for profile in self.profiles:
            if profile.kind != kind:
                continue
            tables = profile.tables
            for at, weight in enumerate(profile.column(kind)):
                link = tables.links[profile.link[at]]
                if tables.labels_of(profile.labels[at]).get("span") == "unknown":
                    span = UNKNOWN
                elif not link.span_id:
                    span = NO_SPAN
                else:
                    span = names.get((link.trace_id, link.span_id), link.span_id.hex())
                for frame in set(tables.stacks[profile.stack[at]]):
                    function = tables.function_name(frame).rpartition(".")[2]
                    found.setdefault(function, Counter())[span] += weight
        return found

    def links(self) -> set[str]:
        """`trace:span` in hex of every linked sample."""
        return {
            f"{link.trace_id.hex()}:{link.span_id.hex()}"
            for profile in self.profiles
            for link in (profile.tables.links[row] for row in set(profile.link))
            if link.span_id
        }

    def pids(self) -> set[int]:
        """The process ids that the profiles carry."""
        return {int(str(dict(profile.resource)["process.pid"])) for profile in self.profiles}


def target(name: str) -> str:
    """The path of a program in tests/targets."""
    return str(_TARGETS / name)


def environment(**variables: str) -> dict[str, str]:
    """This environment without settings of OpenTelemetry, otelprof and proxies, and with `variables`.

    The sampler is the one that the fixture `sampler` has chosen, else the core; where that is missing, the
    sampler in Python as if asked for, so that it says nothing about that.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_OURS) and name.lower() not in _PROXIES
    }
    quiet = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    quiet["OTELPROF_SAMPLER"] = os.environ.get(
        "OTELPROF_SAMPLER", "python" if core.WHY_NOT else "core"
    )
    # The targets share a module of the tests.
    return {**kept, **quiet, "PYTHONPATH": str(_ROOT), **variables}


@contextmanager
def started(
    command: Sequence[str | Path], cwd: Path, variables: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """A program in `cwd`, to be given to `finish`; at the end of the `with` it is gone in any case."""
    process = _start(command, cwd, variables)
    try:
        yield process
    finally:
        if process.returncode is None:
            _kill(process)
            process.communicate()


def _start(
    command: Sequence[str | Path], cwd: Path, variables: Mapping[str, str] | None = None
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env=environment(**(variables or {})),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that whatever it starts can be ended with it
    )


def wait_for_line(process: "subprocess.Popen[str]", text: str) -> str:
    """The program's next line of output that contains `text`."""
    assert process.stdout is not None
    timer = threading.Timer(TIMEOUT_S, _kill, [process])
    timer.start()
    try:
        for line in process.stdout:
            if text in line:
                return line
    finally:
        timer.cancel()
    raise AssertionError(f"no {text!r}: {finish(process)}")


def finish(process: "subprocess.Popen[str]", timeout_s: float = TIMEOUT_S) -> Finished:
    """Wait for the end of the program and of all that it started; what hangs is killed, and fails the test."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _kill(process)
        out, err = process.communicate()
        raise AssertionError(f"{process.args!r} hangs: {out}\n{err}") from None
    return Finished(process.returncode, out, err, time.monotonic_ns())


def _kill(process: "subprocess.Popen[str]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def run(
    command: Sequence[str | Path], cwd: Path, variables: Mapping[str, str] | None = None
) -> Finished:
    """Run a program in `cwd` to its end."""
    with started(command, cwd, variables) as process:
        return finish(process)


def run_together(
    commands: Mapping[str, Sequence[str | Path]],
    cwd: Path,
    variables: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Finished]:
    """Run programs at the same time, each in a directory below `cwd` that has its name."""
    with ExitStack() as stack:
        processes: dict[str, subprocess.Popen[str]] = {}
        for name, command in commands.items():
            (cwd / name).mkdir(exist_ok=True)
            program = started(command, cwd / name, (variables or {}).get(name))
            processes[name] = stack.enter_context(program)
        return {name: finish(process) for name, process in processes.items()}


def run_target(
    name: str, *arguments: str | Path, cwd: Path, variables: Mapping[str, str] | None = None
) -> Finished:
    """Run a program of tests/targets in `cwd` to its end."""
    return run([sys.executable, target(name), *arguments], cwd, variables)


def read(path: Path) -> Left:
    """A profile and the spans beside it."""
    beside = path.with_name(path.name.partition(".")[0] + ".spans.jsonl")
    spans = spans_jsonl.decode(beside.read_bytes()) if beside.exists() else []
    return Left(pprof.decode(path.read_bytes()), spans)


def read_all(directory: Path) -> list[Left]:
    """All profiles in a directory, by name."""
    return [read(path) for path in sorted(directory.glob("*.pb.gz"))]


def names_in(directory: Path) -> list[str]:
    """The names of all files below a directory."""
    return sorted(str(path.relative_to(directory)) for path in files_below(directory))
