"""`otelprof show`: what a profile says, in the terminal."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click

from otelprof import summary
from otelprof.builder import merged
from otelprof.errors import FormatError, OtelprofError
from otelprof.formats import pprof, spans_jsonl
from otelprof.formats.spans_jsonl import spans_path
from otelprof.model import Profile, SpanRecord

_NS_PER_MS = 1e6
_NS_PER_S = 1e9

_Item = TypeVar("_Item")


class Shown:
    """Profiles of one or more files, added up, and the spans beside them."""

    def __init__(self, profiles: list[Profile], spans: list[SpanRecord]) -> None:
        self.profiles = profiles
        self.spans = spans


def load(paths: Sequence[Path]) -> Shown:
    """Read profiles and the spans beside them.

    Raises:
        OtelprofError: a file cannot be read; the message names it.
    """
    profiles: list[Profile] = []
    spans: list[SpanRecord] = []
    for path in paths:
        profiles.extend(_read(path, pprof.decode))
        if spans_path(path).exists():
            spans.extend(_read(spans_path(path), spans_jsonl.decode))
    return Shown(merged(profiles), spans)


def _read(path: Path, decode: Callable[[bytes], list[_Item]]) -> list[_Item]:
    try:
        return decode(path.read_bytes())
    except (OSError, FormatError) as error:
        raise OtelprofError(f"{path}: {error}") from error


def describe(shown: Shown) -> str:
    """One line: how long, how much, how many spans."""
    totals = summary.total_ns(shown.profiles)
    seconds = max((p.duration_ns for p in shown.profiles), default=0) / _NS_PER_S
    cpu = totals.get("cpu", 0) / _NS_PER_S
    lost = {reason: n for p in shown.profiles for reason, n in p.losses if n}
    losses = "".join(f", {n} {reason}" for reason, n in lost.items())
    return f"{seconds:.1f} s, {cpu:.2f} s CPU, {len(shown.spans)} spans{losses}"


@click.command(short_help="Print where the time of a profile went.")
@click.argument("profile", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--by", type=click.Choice(["function", "span"]), default="function", show_default=True
)
@click.option(
    "-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="Rows at most."
)
def show(profile: tuple[Path, ...], by: str, limit: int) -> None:
    """Print where the time of PROFILE went: a pprof file, or several to be added up.

    Spans are read from `NAME.spans.jsonl` beside `NAME.pb.gz`. A directory stands for all its profiles.
    """
    shown = load(profile_files(profile))
    click.echo(describe(shown))
    click.echo()
    if by == "span":
        _print_spans(summary.by_span(shown.profiles, shown.spans), limit)
    else:
        _print_functions(summary.by_function(shown.profiles), limit)


def profile_files(paths: Sequence[Path]) -> list[Path]:
    """`paths`, with the profiles in a directory in its place.

    Raises:
        OtelprofError: a directory has none.
    """
    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.pb.gz")) if path.is_dir() else [path]
        if not found:
            raise OtelprofError(f"{path}: no *.pb.gz in this directory")
        files.extend(found)
    return files


def _print_functions(times: list[summary.FunctionTime], limit: int) -> None:
    rows = [
        (
            _ms(time.self_cpu_ns),
            _ms(time.total_cpu_ns),
            _ms(time.self_wall_ns),
            _ms(time.total_wall_ns),
            time.function,
        )
        for time in times[:limit]
    ]
    _print_table(("self CPU", "total CPU", "self wall", "total wall", "function"), rows)
    _say_rest(len(times), limit)


def _print_spans(times: list[summary.SpanTime], limit: int) -> None:
    header = ("count", "mean", "total", "CPU", "on thread", "waiting", "span", "mostly in")
    rows = [
        (
            str(time.count or ""),
            _ms(time.mean_ns) if time.count else "",
            _ms(time.duration_ns) if time.count else "",
            _ms(time.cpu_ns),
            _ms(time.wall_ns),
            _ms(time.waiting_ns) if time.count else "",
            time.name,
            _mostly_in(time),
        )
        for time in times[:limit]
    ]
    _print_table(header, rows, left_columns=2)
    _say_rest(len(times), limit)


def _mostly_in(time: summary.SpanTime) -> str:
    functions = summary.top_functions(time)
    if not functions or not time.wall_ns:
        return "-"
    return f"{functions[0].function} {functions[0].self_wall_ns / time.wall_ns:.0%}"


def _print_table(
    header: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, left_columns: int = 1
) -> None:
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    right = len(header) - left_columns
    for row in (header, *rows):
        cells = [
            cell.rjust(width) if column < right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def _say_rest(rows: int, limit: int) -> None:
    if rows > limit:
        click.echo(f"{limit} of {rows} rows shown; -n {rows} for all")


def _ms(ns: float) -> str:
    return f"{ns / _NS_PER_MS:,.1f} ms"
