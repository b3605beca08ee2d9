"""What the command line reads: files of profiles, directories of them, and runs that are kept on this machine."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
from click.shell_completion import CompletionItem

from otelprof import processes
from otelprof.cli.progress import progress
from otelprof.environment import from_environment
from otelprof.errors import FormatError, OtelprofError
from otelprof.formats import reading, spans_jsonl
from otelprof.formats.spans_jsonl import spans_path
from otelprof.model import Profile, SpanRecord
from otelprof.storage.runs import LATEST, all_runs, find_run, removed_files, runs_dir

_PATTERNS = ("*.pb.gz", "*.otlp")
_TOGETHER = (
    32  # files that are added up at a time: it bounds the memory, and adds each row up twice only
)
_SHOWN_RUNS = 5

if TYPE_CHECKING:
    _PathType = click.ParamType[Path, object]
else:
    _PathType = click.ParamType  # before click 8.2 it is not generic

_Item = TypeVar("_Item")


class Loaded:
    """What was read of one or more files.

    Attributes:
        by_process: one profile for each kind and process.
        spans: those beside the files.
        span_lines: the same as they were written, with the resource of the process that each is of.
        removed_files: how many files of runs were removed to stay within the bounds.
        unreadable_files: how many in directories are damaged, as after a loss of power; each was said.
    """

    def __init__(
        self, by_process: list[Profile], spans: list[SpanRecord], span_lines: bytes = b""
    ) -> None:
        self.by_process = by_process
        self.spans = spans
        self.span_lines = span_lines
        self.removed_files = 0
        self.unreadable_files = 0

    @cached_property
    def profiles(self) -> list[Profile]:
        """One profile for each kind; with several processes, samples say of which they are."""
        return processes.added_up(self.by_process)


class InputType(_PathType):
    """A path, or the name of a run that is kept; becomes a path."""

    name = "IN"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """A path that exists; else the run of that name."""
        path = Path(str(value))
        if path.exists():
            return path
        state_dir = from_environment().state_dir
        run = find_run(state_dir, str(value))
        if run is None:
            self.fail(_unknown(str(value), state_dir), param, ctx)
        return run

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Runs, the latest first, and files."""
        del ctx, param
        runs = [run.name for run in reversed(all_runs(from_environment().state_dir))]
        names = [name for name in (LATEST, *runs) if runs and name.startswith(incomplete)]
        return [*map(CompletionItem, names), CompletionItem(incomplete, type="file")]


def load(paths: Sequence[Path]) -> Loaded:
    """Read files, and directories as all the profiles in them, with the spans beside them.

    Raises:
        OtelprofError: one that was named cannot be read, or nothing in a directory can; the message names it.
    """
    profiles: list[Profile] = []
    fresh: list[Profile] = []
    spans: list[SpanRecord] = []
    lines: list[bytes] = []
    files = profile_files(paths)
    unreadable: list[OtelprofError] = []
    are_read = False
    for number, path in enumerate(progress(files, "reading"), 1):
        try:
            fresh.extend(_read(path, reading.decode))
            are_read = True
            if spans_path(path).exists():
                spans.extend(_read(spans_path(path), spans_jsonl.decode, lines))
        except OtelprofError as error:
            if path in paths:
                raise
            unreadable.append(error)
        if number % _TOGETHER == 0:
            profiles.extend(processes.by_process(fresh))
            fresh = []
    if not are_read:
        raise unreadable[0]
    for reason in unreadable:
        click.echo(f"otelprof: {reason}; without it", err=True)
    loaded = Loaded(processes.by_process([*profiles, *fresh]), spans, _joined(lines))
    loaded.unreadable_files = len(unreadable)
    loaded.removed_files = sum(
        removed_files(file.name for file in files if file.parent == path)
        for path in _different(paths)
        if path.is_dir()
    )
    return loaded


def profile_files(paths: Sequence[Path]) -> list[Path]:
    """`paths`, with the profiles in a directory in its place, each once.

    Raises:
        OtelprofError: a directory has none.
    """
    files: list[Path] = []
    for path in paths:
        found = list(_in_directory(path)) if path.is_dir() else [path]
        if not found:
            raise OtelprofError(f"{path}: no {' or '.join(_PATTERNS)} in this directory")
        files.extend(found)
    return _different(files)


def _different(paths: Iterable[Path]) -> list[Path]:
    """Each file or directory once, by the first of its paths."""
    found: dict[Path, Path] = {}
    for path in paths:
        found.setdefault(path.resolve(), path)
    return list(found.values())


def _in_directory(directory: Path) -> Iterator[Path]:
    for pattern in _PATTERNS:
        yield from sorted(directory.glob(pattern))


def _read(
    path: Path, decode: Callable[[bytes], list[_Item]], contents: list[bytes] | None = None
) -> list[_Item]:
    """What is in a file; `contents` gets its bytes, if they are good."""
    try:
        content = path.read_bytes()
        items = decode(content)
    except (OSError, FormatError) as error:
        raise OtelprofError(f"{path}: {error}") from error
    if contents is not None:
        contents.append(content)
    return items


def _joined(lines: Sequence[bytes]) -> bytes:
    return b"".join(part if part.endswith(b"\n") else part + b"\n" for part in lines if part)


def _unknown(name: str, state_dir: Path) -> str:
    runs = [run.name for run in reversed(all_runs(state_dir))]
    matching = [run for run in runs if run.startswith(name)]
    if not runs:
        return f"there is no file {name!r}, and no run in {runs_dir(state_dir)}"
    shown = ", ".join((matching or runs)[:_SHOWN_RUNS])
    more = ", …" if len(matching or runs) > _SHOWN_RUNS else ""
    if matching:
        return f"{name!r} may be {shown}{more}"
    return f"there is no file {name!r}, and no run that is called so; the last are {shown}{more}"
