"""`otelprof run`: profile a script, without a change to it."""

import glob
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

import click

from otelprof.cli.show import describe, load
from otelprof.errors import OtelprofError
from otelprof.formats.spans_jsonl import spans_path
from otelprof.scalar_settings import MAX_RATE_HZ, MIN_RATE_HZ

# What OpenTelemetry would export nowhere: spans are recorded beside the profile all the same.
_QUIET = {
    "OTEL_TRACES_EXPORTER": "none",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
}
_BOOTSTRAP = "from opentelemetry.instrumentation.auto_instrumentation import run; run()"
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_SIGNAL_EXIT = 128  # a shell's exit code for a child that a signal ended is this plus the signal


@click.command(
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
    short_help="Run a script and profile it.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("otelprof.pb.gz"),
    show_default=True,
    help="Where the profile goes, NAME.pb.gz; its spans go to NAME.spans.jsonl beside it.",
)
@click.option(
    "-r",
    "--rate",
    "rate_hz",
    metavar="HZ",
    type=click.FloatRange(MIN_RATE_HZ, MAX_RATE_HZ),
    default=100.0,
    show_default=True,
    help="Samples per second and thread.",
)
@click.argument("script", type=click.Path(exists=True, dir_okay=False))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(output: Path, rate_hz: float, script: str, arguments: tuple[str, ...]) -> None:
    """Run SCRIPT with ARGUMENTS, instrumented by OpenTelemetry, and profile it.

    The exit code is the script's. Where OTEL_TRACES_EXPORTER and its kin are set, they hold.
    """
    _check(output)
    environ = {**_QUIET, **os.environ}
    environ["OTELPROF_OUTPUT"] = str(output.absolute())
    environ["OTELPROF_RUNNER_PID"] = str(os.getpid())
    environ["OTELPROF_RATE"] = f"{rate_hz:g}"
    before = _times(output)
    command = [sys.executable, "-c", _BOOTSTRAP, sys.executable, script, *arguments]
    code = _wait_for(subprocess.Popen(command, env=environ))  # noqa: S603 - the user's own script
    written = [path for path, time_ns in _times(output).items() if before.get(path) != time_ns]
    for path in written:
        click.echo(f"otelprof: {path}: {describe(load([path]))}", err=True)
    if output not in written:
        click.echo(f"otelprof: {script} left no profile", err=True)
    sys.exit(code)


def _check(output: Path) -> None:
    """Refuse an output that cannot be written, before the script has run for nothing."""
    if not output.name.endswith(".pb.gz") or output.name == ".pb.gz":
        raise click.BadParameter(f"{output} does not end in .pb.gz", param_hint="-o")
    directory = output.absolute().parent
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # An older profile must not pass for this run's.
        output.unlink(missing_ok=True)
        spans_path(output).unlink(missing_ok=True)
    except OSError as error:
        raise OtelprofError(f"{output} cannot be written: {error}") from error
    if not os.access(directory, os.W_OK):
        raise OtelprofError(f"{output} cannot be written: no permission in {directory}")


def _times(output: Path) -> dict[Path, int]:
    """When `output`, and what children of the script wrote beside it, were written."""
    stem = output.name.removesuffix(".pb.gz")
    children = sorted(output.parent.glob(f"{glob.escape(stem)}-*.pb.gz"))
    return {p: p.stat().st_mtime_ns for p in (output, *children) if p.exists()}


def _wait_for(child: "subprocess.Popen[bytes]") -> int:
    """Pass signals on and return the exit code, as a shell gives it."""

    def forward(number: int, _: FrameType | None) -> None:
        # The terminal sends SIGINT to the child too: once is enough.
        if number != signal.SIGINT or sys.stdin is None or not sys.stdin.isatty():
            child.send_signal(number)

    for number in _FORWARDED:
        signal.signal(number, forward)
    code = child.wait()
    return _SIGNAL_EXIT - code if code < 0 else code
