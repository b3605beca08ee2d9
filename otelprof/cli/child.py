"""The program that `otelprof run` runs: what it is, what its environment tells it, and how it is waited for."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

import click

from otelprof.cli.family import Family
from otelprof.errors import OtelprofError

SIGNAL_EXIT = 128  # a shell's exit code for a child that a signal ended is this plus the signal
_FORWARDED = ("SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2")
# Whoever ends a program by hand sends these in this order; a server needs a while to end its workers.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
_GRACE_S = 10.0
_BEGIN_S = 10.0  # by then a program is profiled, or never
_BEGIN_POLL_S = 0.05
_FLUSH = "5s"  # a program that a signal ends at once loses this much at most

_AUTO = "opentelemetry.instrumentation.auto_instrumentation"
_FOLLOWED = Path(__file__).parent / "followed"  # the directory of our `sitecustomize`


def script_command(script: str, arguments: Sequence[str]) -> list[str]:
    """How Python runs a script.

    Raises:
        click.UsageError: there is none; the message says how to run a command.
    """
    if Path(script).exists():  # a directory or a zip file may have a __main__
        return [sys.executable, script, *arguments]
    hint = f"; for the command write: -- {script}" if shutil.which(script) else ""
    raise click.UsageError(f"there is no file {script!r}{hint}")


def command_found(command: Sequence[str]) -> list[str]:
    """`command`, with the path of the program.

    Raises:
        click.UsageError: there is no such program.
    """
    # Programs of the environment that otelprof is in need not be on the path.
    here = os.pathsep.join((os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)))
    found = shutil.which(command[0], path=here)
    if found is None:
        raise click.UsageError(f"there is no command {command[0]!r}")
    return [found, *command[1:]]


def child_environ(
    given: Mapping[str, str], run_directory: Path, settings: Mapping[str, str]
) -> dict[str, str]:
    """The environment of a program that profiles itself, and all that it starts, into `run_directory`.

    Where OpenTelemetry has nowhere to send to it sends nothing: spans are recorded beside the profiles all the same.

    Args:
        given: ours.
        run_directory: where all processes keep what they collect.
        settings: `OTELPROF_*` that win over those in `given`.
    """
    environ = {"OTELPROF_FLUSH": _FLUSH, **given, **settings}
    for signal_name in ("TRACES", "METRICS", "LOGS"):
        endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal_name}_ENDPOINT")
        if not any(map(given.get, endpoints)):
            environ.setdefault(f"OTEL_{signal_name}_EXPORTER", "none")
    exporters = [name.strip() for name in given.get("OTELPROF_EXPORTER", "").split(",")]
    others = [name for name in exporters if name and name.lower() not in {"local", "none"}]
    environ["OTELPROF_EXPORTER"] = ",".join(["local", *others])
    environ["OTELPROF_LOCAL_DIRECTORY"] = str(run_directory.absolute())
    environ.pop("OTELPROF_OUTPUT", None)  # ours: what all processes have left goes there
    # As `opentelemetry-instrument` does: Python imports the `sitecustomize` in there before anything else.
    # Others' entries stay as they are: an empty one is the working directory.
    given_paths = given["PYTHONPATH"].split(os.pathsep) if given.get("PYTHONPATH") else []
    instead = {str(_FOLLOWED), _auto_instrumentation()}
    paths = [str(_FOLLOWED), *(path for path in given_paths if path not in instead)]
    environ["PYTHONPATH"] = os.pathsep.join(paths)
    return environ


def _auto_instrumentation() -> str:
    spec = find_spec(_AUTO)
    if spec is None or spec.origin is None:
        raise OtelprofError(f"run: {_AUTO} is not installed")
    return str(Path(spec.origin).parent)


class Child:
    """A running program that gets our signals.

    Attributes:
        was_ended: whether its time was over before it ended.
        has_begun: whether a program of it was seen to begin, where that was waited for.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start it.

        Raises:
            OtelprofError: the system refuses.
        """
        self.was_ended = self.has_begun = False
        self._early: list[int] = []  # signals that came before there was a program
        self._forward: Callable[[int], object] = self._early.append
        self._before = {
            number: signal.signal(number, self._pass_on)
            for name in _FORWARDED
            if (number := getattr(signal, name, None)) is not None  # some systems have fewer
        }
        try:
            self._process = subprocess.Popen(command, env=environ)  # noqa: S603 - the user's own command
        except OSError as error:
            self._give_back_signals()
            raise OtelprofError(f"{command[0]} cannot be run: {error}") from error
        self._forward = self._process.send_signal
        for number in self._early:
            self._forward(number)

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        # The terminal sends these to all in the foreground, so to the child too: once is enough.
        if number not in {signal.SIGINT, signal.SIGQUIT} or not _is_in_foreground():
            self._forward(number)

    def _give_back_signals(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait(self, most_s: float | None, has_begun: Callable[[], bool]) -> int:
        """Wait for its end, and after `most_s` seconds end it and all that it has started; then signals are ours again.

        Args:
            most_s: from when it has begun, or could have.
            has_begun: whether a program has begun. While Python starts it dies of an interrupt.

        Returns:
            The exit code, as `subprocess` has it.
        """
        try:
            if most_s is not None:
                self._wait_for_its_begin(has_begun)
            return self._wait(most_s)
        finally:
            self._give_back_signals()

    def _wait_for_its_begin(self, has_begun: Callable[[], bool]) -> None:
        until_s = time.monotonic() + _BEGIN_S
        while not (
            self.has_begun or self._process.poll() is not None or time.monotonic() > until_s
        ):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_BEGIN_POLL_S)
            self.has_begun = has_begun()

    def _wait(self, most_s: float | None) -> int:
        try:
            return self._process.wait(most_s)
        except subprocess.TimeoutExpired:
            self.was_ended = True
        family = Family(self._process.pid)
        try:
            for number in ENDING:
                family.look()
                self._process.send_signal(number)
                family.send(number)
                if self._have_ended(family):
                    break
        finally:
            family.close()
        return self._process.wait()

    def _have_ended(self, family: Family) -> bool:
        until_s = time.monotonic() + _GRACE_S
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            return False
        return family.wait(until_s)


def _is_in_foreground() -> bool:
    """Whether Ctrl-C in our terminal would reach us."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # closed, or no terminal
            if os.tcgetpgrp(stream.fileno()) == os.getpgrp():
                return True
    return False
