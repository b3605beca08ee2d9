"""`otelprof run`: profile a script, without a change to it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

import click

from otelprof.cli.show import describe, load

# What OpenTelemetry would export nowhere: spans are recorded beside the profile all the same.
_QUIET = {
    "OTEL_TRACES_EXPORTER": "none",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
}
_BOOTSTRAP = "from opentelemetry.instrumentation.auto_instrumentation import run; run()"
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_SIGNAL_EXIT = 128  # a shell's exit code for a child that a signal ended is this plus the signal


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("otelprof.pb.gz"),
    show_default=True,
    help="Where the profile goes; its spans go beside it.",
)
@click.option("-r", "--rate", metavar="HZ", help="Samples per second and thread.  [default: 100]")
@click.argument("script", type=click.Path(exists=True, dir_okay=False))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(output: Path, rate: str | None, script: str, arguments: tuple[str, ...]) -> None:
    """Run SCRIPT with ARGUMENTS, instrumented by OpenTelemetry, and profile it.

    The exit code is the script's. Where OTEL_TRACES_EXPORTER and its kin are set, they hold.
    """
    environ = {**_QUIET, **os.environ}
    environ["OTELPROF_OUTPUT"] = str(output.absolute())
    environ["OTELPROF_RUNNER_PID"] = str(os.getpid())
    if rate is not None:
        environ["OTELPROF_RATE"] = rate
    output.unlink(missing_ok=True)
    command = [sys.executable, "-c", _BOOTSTRAP, sys.executable, script, *arguments]
    code = _wait_for(subprocess.Popen(command, env=environ))  # noqa: S603 - the user's own script
    if output.exists():
        click.echo(f"otelprof: {output}: {describe(load([output]))}", err=True)
    else:
        click.echo(f"otelprof: {script} left no profile", err=True)
    sys.exit(code)


def _wait_for(child: "subprocess.Popen[bytes]") -> int:
    """Pass signals on and return the exit code, as a shell gives it."""

    def forward(number: int, _: FrameType | None) -> None:
        # The terminal sends SIGINT to the child too: once is enough.
        if number != signal.SIGINT or not sys.stdin.isatty():
            child.send_signal(number)

    for number in _FORWARDED:
        signal.signal(number, forward)
    code = child.wait()
    return _SIGNAL_EXIT - code if code < 0 else code
