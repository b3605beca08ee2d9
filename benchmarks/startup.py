"""What `opentelemetry-instrument` takes until the program's first statement, with otelprof installed and without.

    python -m benchmarks.startup --rounds 11

Two directories of packages that are alike but for otelprof, made of links; the same interpreter with the one and with the
other, in turns and changing order. All instrumentation but ours is left out, and nothing is exported. Three figures: wall
and CPU time until the first statement, and the sum of `-X importtime`. A process each is not counted, so that bytecode and
files are in place. Machines are shared and noisy: read medians, the least of all runs, and the load.
"""

import argparse
import os
import platform
import re
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import distribution, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

_LIMIT_MS = 60.0  # the design's
_AUTO = Path("opentelemetry", "instrumentation", "auto_instrumentation")
_FIRST = "import sys, time; print(time.monotonic_ns(), time.process_time_ns(), 'otelprof.profiler' in sys.modules)"
_IMPORT_US = re.compile(r"^import time:\s+(\d+) \|", re.MULTILINE)
_SETTINGS: Mapping[str, Mapping[str, str]] = {
    "without": {},
    "with, nothing leaves": {"OTELPROF_EXPORTER": "none"},
    "with, to files": {"OTELPROF_EXPORTER": "file"},
    "with, by OTLP": {"OTELPROF_EXPORTER": "otlp"},
    "switched off": {"OTELPROF_ENABLED": "false"},
}


class _Figures(NamedTuple):
    """Of one process, in milliseconds until its first statement."""

    wall_ms: float
    cpu_ms: float
    import_ms: float


def main() -> None:
    """Run all processes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    print(
        f"{platform.python_implementation()} {platform.python_version()}, otelprof {version('otelprof')}, "
        f"opentelemetry-sdk {version('opentelemetry-sdk')}, {os.cpu_count()} CPUs, "
        f"load {os.getloadavg()[0]:.2f}, {options.rounds} rounds"
    )
    runs: dict[str, list[_Figures]] = {name: [] for name in _SETTINGS}
    with tempfile.TemporaryDirectory() as folder:
        sites = {is_with: _site(Path(folder), is_with=is_with) for is_with in (False, True)}
        for number in range(options.rounds + 1):
            for name in list(_SETTINGS)[:: 1 if number % 2 else -1]:
                figures = _measured(sites[name != "without"], name, Path(folder))
                if number:
                    runs[name].append(figures)
    layout = "{:22}{:>28}{:>28}{:>28}"
    print(layout.format("", *(f"{name}, beyond" for name in ("wall", "CPU", "importtime"))))
    for name in _SETTINGS:
        print(layout.format(name, *_columns(runs["without"], runs[name])))
    print(
        f"median and, in brackets, of the fastest; {_LIMIT_MS:g} ms are allowed; load {os.getloadavg()[0]:.2f}"
    )


def _columns(without: list[_Figures], found: list[_Figures]) -> list[str]:
    columns: list[str] = []
    for less, more in zip(zip(*without, strict=True), zip(*found, strict=True), strict=True):
        beyond_ms = statistics.median(more) - statistics.median(less)
        over = " !" if beyond_ms > _LIMIT_MS else ""
        text = f"{statistics.median(more):.0f} ms"
        columns.append(
            text
            if found is without
            else f"{text}, {beyond_ms:+.0f} [{min(more) - min(less):+.0f}]{over}"
        )
    return columns


def _site(folder: Path, *, is_with: bool) -> Path:
    """A directory with links to all packages of this environment, with otelprof or without."""
    site = folder / ("with" if is_with else "without")
    site.mkdir()
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for path in Path(place).iterdir():
            is_ours = "otelprof" in path.name  # an editable install's files, too
            if not is_ours and path.suffix != ".pth" and path.name != "__pycache__":
                (site / path.name).symlink_to(path)
    spec = find_spec("otelprof")
    if is_with and spec is not None and spec.origin is not None:
        (site / "otelprof").symlink_to(Path(spec.origin).parent)
        info = site / f"otelprof-{version('otelprof')}.dist-info"
        info.mkdir()
        for name in ("METADATA", "entry_points.txt"):
            (info / name).write_text(distribution("otelprof").read_text(name) or "")
    return site


def _measured(site: Path, name: str, folder: Path) -> _Figures:
    others = {entry.name for entry in entry_points(group="opentelemetry_instrumentor")} - {
        "otelprof"
    }
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": os.pathsep.join((str(site / _AUTO), str(site))),
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": ",".join(sorted(others)),
        "OTELPROF_STATE_DIR": str(folder / "state"),
        "OTELPROF_FILE_DIR": str(folder / "profiles"),
        **{f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")},
        **_SETTINGS[name],
    }
    python = [getattr(sys, "_base_executable", sys.executable), "-W", "ignore"]
    began_ns = time.monotonic_ns()
    first = subprocess.run(
        [*python, "-c", _FIRST], env=environ, check=True, capture_output=True, text=True
    )
    at_ns, cpu_ns, is_profiled = first.stdout.split()
    if name != "switched off" and (is_profiled == "True") != (name != "without"):
        raise SystemExit(f"{name}: otelprof.profiler imported: {is_profiled}\n{first.stderr}")
    imports = subprocess.run(
        [*python, "-X", "importtime", "-c", "import os; os._exit(0)"],
        env=environ,
        check=True,
        capture_output=True,
        text=True,
    )
    import_ms = sum(map(int, _IMPORT_US.findall(imports.stderr))) / 1e3
    return _Figures((int(at_ns) - began_ns) / 1e6, int(cpu_ns) / 1e6, import_ms)


if __name__ == "__main__":
    main()
