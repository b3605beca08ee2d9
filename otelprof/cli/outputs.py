"""What the command line writes: the formats, told by the ends of names, and files that appear whole."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click

from otelprof import report
from otelprof.cli.inputs import Loaded
from otelprof.errors import OtelprofError
from otelprof.exporters.file import write_whole
from otelprof.formats import collapsed, gecko, json_profile, otlp, pprof, speedscope
from otelprof.formats.spans_jsonl import spans_path


class Options(NamedTuple):
    """What only some formats know.

    Attributes:
        value: which of the values, where a format holds one; empty for the first kind's weight.
        lines: a frame for each line, not each function.
    """

    value: str = ""
    lines: bool = False


NO_OPTIONS = Options()


class Format(NamedTuple):
    """A format that profiles leave in.

    Attributes:
        suffix: of a file's name that means this format.
        lacks: what it has no place for; empty if nothing.
        options: which of `Options` it knows.
        has_spans_beside: span records go into a file of their own beside it.
    """

    suffix: str
    encode: Callable[[Loaded, Options], bytes]
    lacks: str = ""
    options: tuple[str, ...] = ()
    is_binary: bool = False
    has_spans_beside: bool = False


def _pprof(loaded: Loaded, _: Options) -> bytes:
    return pprof.encode(loaded.profiles)


def _otlp(loaded: Loaded, _: Options) -> bytes:
    return otlp.encode(loaded.by_process, full=True)


def _collapsed(loaded: Loaded, options: Options) -> bytes:
    return collapsed.encode(loaded.profiles, value=options.value, lines=options.lines)


def _speedscope(loaded: Loaded, options: Options) -> bytes:
    return speedscope.encode(loaded.profiles, lines=options.lines)


def _gecko(loaded: Loaded, _: Options) -> bytes:
    return gecko.encode(loaded.profiles, loaded.spans)


def _json(loaded: Loaded, _: Options) -> bytes:
    return json_profile.encode(loaded.by_process)


def _report(loaded: Loaded, _: Options) -> bytes:
    return report.encode(loaded.by_process, loaded.spans)


FORMATS = {
    "pprof": Format(".pb.gz", _pprof, is_binary=True, has_spans_beside=True),
    "otlp": Format(".otlp", _otlp, is_binary=True, has_spans_beside=True),
    "collapsed": Format(
        ".folded", _collapsed, lacks="spans, threads and other values", options=("value", "lines")
    ),
    "speedscope": Format(
        ".speedscope.json", _speedscope, lacks="spans and threads", options=("lines",)
    ),
    "gecko": Format(".gecko.json", _gecko, lacks="counts"),
    "json": Format(".json", _json),
    "html": Format(".html", _report),
}


def format_of(output: Path) -> str:
    """The name of the format with the longest suffix that `output` ends in.

    Raises:
        click.BadParameter: it ends in none of them.
    """
    suffixes = sorted((f.suffix, name) for name, f in FORMATS.items())
    for suffix, name in sorted(suffixes, key=lambda item: -len(item[0])):
        if output.name.endswith(suffix) and output.name != suffix:
            return name
    known = ", ".join(suffix for suffix, _ in suffixes)
    raise click.BadParameter(f"{output} ends in none of {known}", param_hint="-o")


def write(output: Path, name: str, loaded: Loaded, options: Options = NO_OPTIONS) -> None:
    """Write `loaded` to `output` in the format `name`, and spans beside it where they belong.

    Raises:
        FormatError: the format cannot hold it.
        OtelprofError: it cannot be written.
    """
    content = FORMATS[name].encode(loaded, options)
    try:
        if output.exists() and not output.is_file():
            output.write_bytes(content)  # a pipe or a device: there is nothing to put in its place
            return
        beside = spans_path(output.resolve())
        if FORMATS[name].has_spans_beside:
            # Before the profile, so that whoever sees that finds them; and none that belong to an older one.
            if loaded.span_lines:
                write_whole(beside, loaded.span_lines)
            else:
                beside.unlink(missing_ok=True)
        write_whole(output.resolve(), content)
    except OSError as error:
        raise OtelprofError(f"{output} cannot be written: {error}") from error
