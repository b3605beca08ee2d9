"""`otelprof show`: what a profile says, in the terminal."""

import sys
from pathlib import Path
from typing import Literal

import click

from otelprof.cli import show_json, show_text
from otelprof.cli.inputs import InputType, Loaded, load
from otelprof.cli.selection import select

NOT_ENOUGH_DATA = 4  # the exit code

By = Literal["all", "function", "span", "tree"]


@click.command(short_help="Print where the time of a profile went.")
@click.argument("inputs", metavar="IN...", nargs=-1, required=True, type=InputType())
@click.option(
    "--by",
    type=click.Choice(["function", "span", "tree"]),
    help="One table only: functions, spans by name, or the call tree; else functions and tree.",
)
@click.option(
    "--span", default="", metavar="NAME|ID", help="Only what ran in such spans and below."
)
@click.option("--trace", default="", metavar="ID", help="Only what ran in this trace.")
@click.option(
    "--endpoint",
    default="",
    metavar="ROUTE",
    help="Only what ran for this route, or below an outermost span of this name.",
)
@click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice(["text", "json", "md"]),
    default="text",
    show_default=True,
)
@click.option(
    "-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="Rows at most."
)
def show(  # noqa: PLR0913 - what can be chosen
    *,
    inputs: tuple[Path, ...],
    by: By | None,
    span: str,
    trace: str,
    endpoint: str,
    format_name: str,
    limit: int,
) -> None:
    """Print where the time of IN went: the functions that took most of it, and who called them.

    IN is a pprof or OTLP file, whatever its name, a directory, which stands for all profiles in it, or a run that is
    kept on this machine: its name, as much of it as tells it apart, or "latest". Several are added up. Spans are read
    from NAME.spans.jsonl beside NAME.pb.gz, and from OTHER.spans.jsonl beside any other file.

    "on thread" is time in which a thread ran or was blocked in a span, "waiting" the rest of its duration: its task was
    suspended, or nothing sampled it.

    \b
    Examples:
      otelprof show latest
      otelprof show --by span out.pb.gz
      otelprof show --endpoint "/checkout" --by tree latest
      otelprof show --format json latest | jq .functions

    \b
    Exit code:
      0 done   1 error   2 wrong usage   4 no samples in what was chosen
    """  # noqa: D301 - click looks for the character
    loaded = load(inputs)
    chosen = select(loaded, span=span, trace=trace, endpoint=endpoint)
    is_part = bool(span or trace or endpoint)
    if is_part and not any(map(len, chosen.profiles)):
        click.echo(f"otelprof: {len(chosen.spans)} spans, but no samples in them", err=True)
        sys.exit(NOT_ENOUGH_DATA)
    chosen.removed_files = loaded.removed_files
    chosen.unreadable_files = loaded.unreadable_files
    _print(chosen, format_name, by or "all", limit)


def _print(loaded: Loaded, format_name: str, by: By, limit: int) -> None:
    if format_name == "json":
        click.echo(show_json.encode(loaded, limit))
        return
    blocks = show_text.blocks(loaded, by, limit)
    click.echo(show_text.markdown(blocks) if format_name == "md" else show_text.text(blocks))
