"""`otelprof export`: profiles as files for other tools."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click

from otelprof.cli.show import Shown, describe, load, profile_files
from otelprof.errors import OtelprofError
from otelprof.exporters.file import write_whole
from otelprof.formats import collapsed, gecko, json_profile, otlp, pprof, speedscope
from otelprof.formats.values import value_named


class _Options(NamedTuple):
    value: str
    lines: bool


class _Format(NamedTuple):
    """A format that profiles leave in.

    Attributes:
        suffix: of a file's name that means this format.
        lacks: what it has no place for; empty if nothing.
        options: which of `_Options` it knows.
    """

    suffix: str
    encode: Callable[[Shown, _Options], bytes]
    lacks: str = ""
    options: tuple[str, ...] = ()
    is_binary: bool = False


def _pprof(shown: Shown, _: _Options) -> bytes:
    return pprof.encode(shown.profiles)


def _otlp(shown: Shown, _: _Options) -> bytes:
    return otlp.encode(shown.profiles, full=True)


def _collapsed(shown: Shown, options: _Options) -> bytes:
    return collapsed.encode(shown.profiles, value=options.value, lines=options.lines)


def _speedscope(shown: Shown, options: _Options) -> bytes:
    return speedscope.encode(shown.profiles, lines=options.lines)


def _gecko(shown: Shown, _: _Options) -> bytes:
    return gecko.encode(shown.profiles, shown.spans)


def _json(shown: Shown, _: _Options) -> bytes:
    return json_profile.encode(shown.profiles)


_FORMATS = {
    "pprof": _Format(".pb.gz", _pprof, is_binary=True),
    "otlp": _Format(".otlp", _otlp, is_binary=True),
    "collapsed": _Format(
        ".folded", _collapsed, lacks="spans, threads and other values", options=("value", "lines")
    ),
    "speedscope": _Format(
        ".speedscope.json", _speedscope, lacks="spans and threads", options=("lines",)
    ),
    "gecko": _Format(".gecko.json", _gecko, lacks="counts"),
    "json": _Format(".json", _json),
}


@click.command(short_help="Write profiles in a format of other tools.")
@click.argument("profile", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice(list(_FORMATS)),
    help="Where it is not given, the name after -o says it.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write, *.pb.gz, *.otlp, *.folded, *.speedscope.json, *.gecko.json or *.json; else it is printed.",
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
    profile: tuple[Path, ...], format_name: str | None, output: Path | None, value: str, lines: bool
) -> None:
    """Write PROFILE, a pprof file or several to be added up, in a format of other tools.

    A directory stands for all its profiles. gecko is the format of the Firefox Profiler; its markers are named by the spans
    in `NAME.spans.jsonl` beside `NAME.pb.gz`. The other formats leave span records where they are.
    """
    name = format_name or _format_of(output)
    chosen = _FORMATS[name]
    for option, is_given in (("value", value), ("lines", lines)):
        if is_given and option not in chosen.options:
            raise click.UsageError(f"--{option} is not for {name}")
    if output is None and chosen.is_binary and sys.stdout.isatty():
        raise click.UsageError(f"{name} is binary: name a file with -o, or redirect it")
    shown = load(profile_files(profile))
    content = chosen.encode(shown, _Options(value, lines))
    if output is None:
        click.echo(content, nl=False)
    else:
        _write(output, content)
    said = [describe(shown)]
    if "value" in chosen.options:  # the file does not say which it holds
        one = value_named(name, shown.profiles, value)[0]
        said.append(f"values are {one.name} in {one.type.unit}")
    if chosen.lacks:
        said.append(f"{name} has no place for {chosen.lacks}")
    click.echo(f"otelprof: {output or name}: {'; '.join(said)}", err=True)


def _format_of(output: Path | None) -> str:
    """The format with the longest suffix that `output` ends in."""
    if output is None:
        raise click.UsageError(f"say which format with --format: {', '.join(_FORMATS)}")
    suffixes = sorted((f.suffix, name) for name, f in _FORMATS.items())
    for suffix, name in sorted(suffixes, key=lambda item: -len(item[0])):
        if output.name.endswith(suffix):
            return name
    known = ", ".join(suffix for suffix, _ in suffixes)
    raise click.UsageError(f"{output} ends in none of {known}: say --format")


def _write(output: Path, content: bytes) -> None:
    try:
        if output.exists() and not output.is_file():
            output.write_bytes(content)  # a pipe or a device: there is nothing to put in its place
        else:
            write_whole(output.resolve(), content)
    except OSError as error:
        raise OtelprofError(f"{output} cannot be written: {error}") from error
