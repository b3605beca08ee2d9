"""The command line: one file for each verb. It runs in a process of its own, never in the application's."""

import sys

import click

from otelprof.cli.doctor import doctor
from otelprof.cli.export import export
from otelprof.cli.run import run
from otelprof.cli.show import show
from otelprof.errors import OtelprofError
from otelprof.version import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="otelprof")
def commands() -> None:
    """Profile Python services, with the OpenTelemetry span on every sample."""


commands.add_command(doctor)
commands.add_command(export)
commands.add_command(run)
commands.add_command(show)


def main() -> None:
    """The program `otelprof`: 0 done, 1 error, 2 usage; `run` exits as its child does."""
    try:
        commands()
    except OtelprofError as error:
        click.echo(f"otelprof: {error}", err=True)
        sys.exit(1)
