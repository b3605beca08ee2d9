"""`otelprof run`: profile a program and all that it starts, without a change to it."""

import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from otelprof.cli.child import ENDING, SIGNAL_EXIT, Child, child_environ
from otelprof.cli.inputs import load
from otelprof.cli.outputs import FORMATS, format_of, write
from otelprof.cli.run_arguments import RunCommand, command_of, finite
from otelprof.cli.run_summary import Ended, print_summary, why_nothing
from otelprof.config import Config
from otelprof.environment import from_environment
from otelprof.errors import ConfigError, OtelprofError
from otelprof.extensions import COLLECTORS
from otelprof.extensions import load as load_extension
from otelprof.formats.spans_jsonl import spans_path
from otelprof.list_settings import parse_names
from otelprof.scalar_settings import MAX_DURATION_S, MAX_RATE_HZ, MIN_RATE_HZ
from otelprof.storage.owned import OWNER_FILE
from otelprof.storage.retention import Retention
from otelprof.storage.runs import create_run, has_begun, is_profile
from otelprof.storage.vitals import are_processes_left, read_vitals

_LEAST_FREE_BYTES = 256 * 1024  # of the disk: less is too little for a profile


@click.command(
    cls=RunCommand,
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
    short_help="Run a program and profile it.",
    options_metavar="[OPTIONS]",
)
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="OTELPROF_OUTPUT",
    help="One file for all processes, in the format that its name ends in: "
    f"{', '.join(f.suffix for f in FORMATS.values())}. Without it the run is kept on this machine.",
)
@click.option(
    "-r",
    "--rate",
    "rate_hz",
    metavar="HZ",
    type=click.FloatRange(MIN_RATE_HZ, MAX_RATE_HZ),
    callback=finite,
    help="Samples per second and thread; 100 if OTELPROF_RATE says nothing else.",
)
@click.option(
    "-d",
    "--duration",
    "duration_s",
    metavar="SECONDS",
    type=click.FloatRange(0, MAX_DURATION_S, min_open=True),
    callback=finite,
    help="End the program, and all that it has started, when it was profiled for so long, as Ctrl-C would.",
)
@click.option(
    "--collect",
    metavar="KINDS",
    help='Kinds of profile, such as "cpu" or "cpu,wall", which is the default.',
)
@click.option(
    "-m", "--module", default="", metavar="MODULE", help="Run a module, as python -m does."
)
@click.argument("words", metavar="[SCRIPT | -- COMMAND] [ARG]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run(  # noqa: PLR0913 - what can be set
    ctx: click.Context,
    *,
    output: Path | None,
    rate_hz: float | None,
    duration_s: float | None,
    collect: str | None,
    module: str,
    words: tuple[str, ...],
) -> None:
    """Run a Python script, a module or any command, and profile it and all Python programs that it starts.

    What OpenTelemetry has instrumentation for is instrumented, so that samples have spans; to get it for the libraries
    that are installed, run "opentelemetry-bootstrap -a install". Traces go where OTEL_* variables say, else nowhere.

    The program's exit code is ours. Signals are passed on to it.

    Without -o, profiles and spans are kept in $OTELPROF_STATE_DIR/runs (1 GiB and 7 days of them, see
    OTELPROF_LOCAL_MAX_SIZE and OTELPROF_LOCAL_MAX_AGE), to be read with "otelprof show latest" and "otelprof export
    latest".

    \b
    Examples:
      otelprof run app.py --port 8000
      otelprof run -o out.pb.gz -r 250 -m http.server
      otelprof run -d 30 -- gunicorn --workers 4 shop:app

    \b
    Exit code:
      the program's; 128 and the signal's number if one ended it; 0 if -d did
      1 error   2 wrong usage
    """  # noqa: D301 - click looks for the character
    # What is wrong with OTELPROF_* the program says itself, and each that it starts.
    logging.getLogger("otelprof").setLevel(logging.ERROR)
    command = command_of(ctx, module, words, sys.executable)
    settings = _settings(rate_hz, collect)
    format_name = "" if output is None else _prepare(output)
    name = module or words[0]
    config = from_environment()
    with _run_directory(name, config, output) as directory:
        child = Child(command, child_environ(os.environ, directory, settings))
        code = child.wait(duration_s, lambda: not config.enabled or has_begun(directory))
        if child.was_ended:
            late = "" if child.has_begun else ", and nothing of it had begun to be profiled"
            click.echo(f"otelprof: {name}: ended after {duration_s:g} s{late}", err=True)
        place = directory.name if output is None else str(output)
        can_be_shown = output is None or FORMATS[format_name].has_spans_beside
        ended = Ended(name, place, code, can_be_shown)
        is_told = _tell(directory, ended, output, format_name)
    if child.was_ended and -code in {0, *ENDING}:
        code = 0
    sys.exit(SIGNAL_EXIT - code if code < 0 else code or int(not is_told))


def _settings(rate_hz: float | None, collect: str | None) -> dict[str, str]:
    """Variables for what was asked for."""
    settings: dict[str, str] = {}
    if rate_hz is not None:
        settings["OTELPROF_RATE"] = f"{rate_hz:g}"
    if collect is not None:
        try:
            for kind in parse_names(collect) or ("",):
                load_extension(COLLECTORS, kind, ConfigError)
        except ConfigError as error:
            raise click.BadParameter(str(error), param_hint="--collect") from error
        settings["OTELPROF_COLLECT"] = collect
    return settings


def _prepare(output: Path) -> str:
    """Refuse an output that cannot be written, before the program has run for nothing. The name of its format."""
    name = format_of(output)
    output = output.resolve()  # what a link leads to is written
    directory = output.parent
    try:
        if not directory.exists():
            directory.mkdir(parents=True)
            click.echo(f"otelprof: made the directory {directory}", err=True)
        # An older profile must not pass for this run's.
        for path in (output, spans_path(output)):
            if path.is_file():
                path.unlink()
        # Permissions alone do not say it: a file system may be mounted read-only, or take no files of users.
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise OtelprofError(f"{output} cannot be written: {error}") from error
    return name


@contextmanager
def _run_directory(name: str, config: Config, output: Path | None) -> Iterator[Path]:
    """Where all processes keep what they collect. It stays if there is something in it at the end.

    That is a run on this machine. Where that cannot be and OUT is given, it is a directory beside OUT.
    """
    state_dir = config.state_dir
    try:
        owned = create_run(state_dir, Path(name).stem, begin_unix_s=time.time())
    except OSError as error:
        if output is None:
            reason = f"a run cannot be kept in {state_dir}: {error}"
            raise OtelprofError(
                f"{reason}; name a file with -o, or set OTELPROF_STATE_DIR"
            ) from error
        path = Path(tempfile.mkdtemp(prefix=".otelprof-", dir=output.absolute().parent))
        try:
            yield path
        finally:
            if not (_has_profiles(path) or are_processes_left(path)):
                shutil.rmtree(path, ignore_errors=True)
        return
    Retention(state_dir, config.local).look()
    try:
        yield owned.path
    finally:
        if _has_profiles(owned.path) or are_processes_left(owned.path):
            owned.release()
        else:
            owned.remove()


def _has_profiles(directory: Path) -> bool:
    """Not where somebody has removed it."""
    try:
        return any(is_profile(path.name) for path in directory.iterdir())
    except OSError:
        return False


def _tell(directory: Path, ended: Ended, output: Path | None, format_name: str) -> bool:
    """Write OUT, and say what was seen. False if that failed, which is said then."""
    are_left = are_processes_left(directory)
    if are_left:
        where = directory.name if output is None else directory
        click.echo(
            f"otelprof: {ended.name}: what it has started goes on; all that is flushed from now on is in {where}",
            err=True,
        )
    try:
        if not _has_profiles(directory):
            is_full = shutil.disk_usage(directory).free < _LEAST_FREE_BYTES
            why = f"no room is left in {directory}" if is_full else why_nothing(ended.code)
            click.echo(f"otelprof: {ended.name} left no profile: {why}", err=True)
            return not is_full
        loaded = load([directory])
        if output is not None:
            write(output, format_name, loaded)
        print_summary(loaded, read_vitals(directory), ended)
    except (OSError, OtelprofError, KeyboardInterrupt) as error:
        what = str(error) or "interrupted"
        click.echo(f"otelprof: {what}; what was collected is in {directory}", err=True)
        return False
    if output is not None and not are_left:
        for path in directory.iterdir():
            if path.name != OWNER_FILE:
                path.unlink(missing_ok=True)
    return True
