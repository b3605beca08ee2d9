"""`otelprof export`: profiles as files for other tools."""

import sys
from pathlib import Path

import click

from otelprof.cli.describe import describe
from otelprof.cli.inputs import InputType, load
from otelprof.cli.outputs import FORMATS, Options, format_of, write
from otelprof.formats.values import value_named


@click.command(short_help="Write profiles in a format of other tools.")
@click.argument("inputs", metavar="IN...", nargs=-1, required=True, type=InputType())
@click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice(list(FORMATS)),
    help="Where it is not given, the name after -o says it.",
)
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The file to write, *{', *'.join(f.suffix for f in FORMATS.values())}; else it is printed.",
)
@click.option(
    "--value",
    default="",
    metavar="VALUE",
    help="collapsed: which value, such as wall or cpu/samples; else the first kind's weight.",
)
@click.option(
    "--lines", is_flag=True, help="collapsed, speedscope: a frame for each line, not each function."
)
def export(
    inputs: tuple[Path, ...], format_name: str | None, output: Path | None, value: str, lines: bool
) -> None:
    """Write IN, one profile or several added up, in a format of other tools.

    IN is a pprof or OTLP file, whatever its name, a directory, which stands for all profiles in it, or a run that is
    kept on this machine: its name, as much of it as tells it apart, or "latest".

    Samples of several processes keep their process.pid: as a label in pprof, in OTLP and JSON as profiles of their own.
    Spans in NAME.spans.jsonl beside NAME.pb.gz, or in OTHER.spans.jsonl beside any other file, go beside what is written
    as pprof or OTLP, and name the markers of gecko, the format of the Firefox Profiler.

    \b
    Examples:
      otelprof export latest -o profile.pb.gz
      otelprof export a.pb.gz b.otlp -o both.speedscope.json
      otelprof export -f collapsed latest | flamegraph.pl > flame.svg
    """  # noqa: D301 - click looks for the character
    if format_name is None and output is None:
        raise click.UsageError(f"say which format with --format: {', '.join(FORMATS)}")
    name = format_name or format_of(output or Path())
    chosen = FORMATS[name]
    for option, is_given in (("value", value), ("lines", lines)):
        if is_given and option not in chosen.options:
            raise click.UsageError(f"--{option} is not for {name}")
    if output is None and chosen.is_binary and sys.stdout.isatty():
        raise click.UsageError(f"{name} is binary: name a file with -o, or redirect it")
    loaded = load(inputs)
    options = Options(value, lines)
    if output is None:
        click.echo(chosen.encode(loaded, options), nl=False)
    else:
        write(output, name, loaded, options)
    said = [describe(loaded)]
    if "value" in chosen.options:  # the file does not say which it holds
        one = value_named(name, loaded.profiles, value)[0]
        said.append(f"values are {one.name} in {one.type.unit}")
    if chosen.lacks:
        said.append(f"{name} has no place for {chosen.lacks}")
    click.echo(f"otelprof: {output or name}: {'; '.join(said)}", err=True)
