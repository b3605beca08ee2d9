"""The command line: one file for each verb. It runs in a process of its own, never in the application's."""

import os
import sys

import click

from otelprof.cli.doctor import doctor
from otelprof.cli.export import export
from otelprof.cli.run import run
from otelprof.cli.show import show
from otelprof.errors import OtelprofError
from otelprof.version import __version__

_ERROR, _USAGE, _INTERRUPTED = 1, 2, 130


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,  # to print the help and yet end as wrong usage does
)
@click.version_option(__version__, prog_name="otelprof")
@click.pass_context
def commands(ctx: click.Context) -> None:
    """Profile Python services, with the OpenTelemetry span on every sample.

    \b
    A first look:
      otelprof run app.py        run it, instrumented and profiled
      otelprof show latest       where the time went

    \b
    Exit code:
      0 done   1 error   2 wrong usage   4 no samples; "run" exits as its program does

    \b
    Environment:
      OTELPROF_...               settings; "otelprof doctor" shows all
      NO_COLOR, CLICOLOR_FORCE   colours never, or also where output is no terminal
      _OTELPROF_COMPLETE         bash_source, zsh_source or fish_source print completion for that shell
    """  # noqa: D301 - click looks for the character
    ctx.color = _color()
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(_USAGE)


commands.add_command(doctor)
commands.add_command(export)
commands.add_command(run)
commands.add_command(show)


def main() -> None:
    """The program `otelprof`: 0 done, 1 error, 2 usage, 4 no samples; `run` exits as its child does."""
    try:
        code: object = commands(prog_name="otelprof", standalone_mode=False)
    except click.UsageError as error:
        _say_usage(error)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(f"otelprof: {error.format_message()}", err=True)
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(_INTERRUPTED)
    except OtelprofError as error:
        click.echo(f"otelprof: {error}", err=True)
        sys.exit(_ERROR)
    sys.exit(code if isinstance(code, int) else 0)


def _say_usage(error: click.UsageError) -> None:
    """The usage, and what is wrong in a line like all others of ours."""
    # Some errors of click's parser do not say in which command they are.
    ctx = error.ctx or click.Context(commands, info_name="otelprof")
    click.echo(ctx.get_usage(), err=True)
    click.echo(f"Try '{ctx.command_path} --help' for help.\n", err=True)
    click.echo(f"otelprof: {error.format_message()}", err=True)


def _color() -> bool | None:
    """Whether to print in colour: always, never, or where the output is a terminal (bixense.com/clicolors, no-color.org)."""
    if os.environ.get("CLICOLOR_FORCE", "0") not in {"", "0"}:
        return True
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return None
