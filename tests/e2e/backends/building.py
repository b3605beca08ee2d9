"""Builds the programs with Go, each once, into the cache."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from tests.e2e.backends.programs import COLLECTOR, PPROF, Program, cache

_TIMEOUT_S = 3600  # of one command; Parca takes ten minutes on two cores


def build(wanted: Iterable[Program]) -> None:
    """Build what is missing of `wanted`, and say where each is."""
    if shutil.which("go") is None:
        raise SystemExit("backends: Go is needed to build them (https://go.dev/dl)")
    cache().mkdir(parents=True, exist_ok=True)
    for program in wanted:
        if not program.path.exists():
            started_s = time.monotonic()
            with tempfile.TemporaryDirectory() as directory:
                _keep(_built(program, Path(directory)), program.path)
            sys.stderr.write(f"{program.name}: {time.monotonic() - started_s:.0f} s to build\n")
        sys.stdout.write(f"{program.path}\n")
        sys.stdout.flush()


def _keep(built: Path, path: Path) -> None:
    # Renamed into place, so that a build that was cut short leaves nothing behind.
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    shutil.copy(built, partial)
    partial.replace(path)


def _built(program: Program, directory: Path) -> Path:
    if program == PPROF:
        _go(directory, "install", f"{program.module}@{program.version}")
        return directory / "pprof"
    if program == COLLECTOR:
        return _built_collector(directory)
    return _built_in_own_module(program, directory)


def _built_collector(directory: Path) -> Path:
    _go(directory, "install", f"{COLLECTOR.module}@{COLLECTOR.version}")
    (directory / "manifest.yaml").write_text(COLLECTOR.recipe)
    command = [str(directory / "builder"), "--config", "manifest.yaml"]
    subprocess.run(command, cwd=directory, check=True, timeout=_TIMEOUT_S)
    return directory / "out" / "otelcol"


def _built_in_own_module(program: Program, directory: Path) -> Path:
    """Build a program whose module `go install` does not take, since it replaces others.

    A module of our own takes over its requirements, its replacements and its sums, and requires the module itself.
    """
    download = json.loads(
        _go(directory, "mod", "download", "-json", f"{program.module}@{program.version}")
    )
    sources = Path(download["Dir"])
    theirs = (sources / "go.mod").read_text()
    ours, count = re.subn(r"^module .*$", "module backends.invalid/own", theirs, flags=re.MULTILINE)
    if count != 1:
        raise SystemExit(f"backends: {sources}/go.mod names {count} modules, not one")
    reference = f"{program.module} {program.version}"
    (directory / "go.mod").write_text(f"{ours}\nrequire {reference}\n")
    sums = (sources / "go.sum").read_text()
    sums += f"{reference} {download['Sum']}\n{reference}/go.mod {download['GoModSum']}\n"
    (directory / "go.sum").write_text(sums)
    output = directory / "built"
    package = f"{program.module}/{program.package}"
    flags = ("-mod=mod", "-trimpath", "-ldflags", "-s -w", "-o", str(output))
    _go(directory, "build", *flags, package)
    return output


def _go(directory: Path, *arguments: str) -> str:
    # A module may ask for a newer Go than is here; that of the machine is what is used.
    environ = {**os.environ, "GOBIN": str(directory), "GOTOOLCHAIN": "local"}
    return subprocess.run(
        ["go", *arguments],
        cwd=directory,
        env=environ,
        stdout=subprocess.PIPE,
        check=True,
        timeout=_TIMEOUT_S,
        text=True,
    ).stdout
