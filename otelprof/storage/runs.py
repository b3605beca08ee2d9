"""The runs kept on this machine: a directory for each, with what all its processes have left.

    $OTELPROF_STATE_DIR/runs/shop-20261123T122501-4121-9f3a2b1c/
        owner                                                locked as long as the run lasts
        4121-9f3a-000001.otlp  …-000001.otlp.spans.jsonl     what a process flushed: profiles, and spans beside them
        4121-9f3a.vitals.json                                what its sampling did and took
        begun                                                there as soon as a program has begun that is profiled

A process numbers its files, so that what was removed to stay within the bounds can be counted.
"""

import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from otelprof.storage.owned import OwnedDirectory
from otelprof.storage.trust import make_private

PROFILE_SUFFIX = ".otlp"
LATEST = "latest"
_BEGUN = "begun"

_RUN = re.compile(r"(.+)-(\d{8}T\d{6})-\d+-[0-9a-f]{8}")
_PROFILE = re.compile(r"(\d+-[0-9a-f]{4})-(\d{6,})" + re.escape(PROFILE_SUFFIX), re.ASCII)
_MAX_WORD = 40  # characters of a program's name


def runs_dir(state_dir: Path) -> Path:
    """Where the runs are."""
    return state_dir / "runs"


def create_run(state_dir: Path, program: str, *, begin_unix_s: float) -> OwnedDirectory:
    """A directory for a new run of `program`, locked by this process.

    Raises:
        OSError: it cannot be made, or others could write to it.
    """
    make_private(state_dir)
    make_private(runs_dir(state_dir))
    word = re.sub(r"[^A-Za-z0-9_.]+", "_", program).strip("._")[:_MAX_WORD] or "run"
    begin = time.strftime("%Y%m%dT%H%M%S", time.gmtime(begin_unix_s))
    return OwnedDirectory.create(runs_dir(state_dir), f"{word}-{begin}")


def note_begun(directory: str) -> None:
    """Note in a run's directory that a program is profiled, and about to begin. Never raises."""
    with suppress(OSError):
        os.close(os.open(f"{directory}/{_BEGUN}", os.O_CREAT | os.O_WRONLY, 0o600))


def has_begun(run: Path) -> bool:
    """Whether it was noted."""
    return (run / _BEGUN).exists()


def all_runs(state_dir: Path) -> list[Path]:
    """The directories of all runs, those that began first in front. Empty where there is none."""
    try:
        found = [path for path in runs_dir(state_dir).iterdir() if _RUN.fullmatch(path.name)]
    except OSError:
        return []
    return sorted(found, key=_began)


def find_run(state_dir: Path, name: str) -> Path | None:
    """The run that is called `name`, that alone begins so, or the `latest`; None if there is none."""
    runs = all_runs(state_dir)
    if name == LATEST:
        return runs[-1] if runs else None
    matching = [run for run in runs if run.name.startswith(name)]
    exact = [run for run in matching if run.name == name]
    chosen = exact or matching
    return chosen[0] if len(chosen) == 1 else None


def process_token() -> str:
    """What the files of this process begin with: its pid, which another one may have had before, and a mark of its own."""
    return f"{os.getpid()}-{os.urandom(2).hex()}"


def profile_name(token: str, number: int) -> str:
    """The name of the `number`-th file of a process, from 1."""
    return f"{token}-{number:06d}{PROFILE_SUFFIX}"


def is_profile(name: str) -> bool:
    """Whether a file of a run is one of profiles."""
    return _PROFILE.fullmatch(name) is not None


def removed_files(names: Iterable[str]) -> int:
    """How many files of profiles are missing between these: the oldest are removed where there is no room."""
    numbers: dict[str, list[int]] = {}
    for name in names:
        if match := _PROFILE.fullmatch(name):
            numbers.setdefault(match[1], []).append(int(match[2]))
    return sum(max(found) - len(found) for found in numbers.values())


def _began(run: Path) -> tuple[str, int]:
    match = _RUN.fullmatch(run.name)
    try:
        written_ns = run.stat().st_mtime_ns
    except OSError:  # removed meanwhile
        written_ns = 0
    return (match[2] if match else "", written_ns)
