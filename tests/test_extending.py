"""The page on extending is a package that can be installed and used as it stands there."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.programs import INSTRUMENT, read_all, run

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
APP = """
import otelprof

def count_primes(limit):
    return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(2, limit))

count_primes(100_000)
profiler = otelprof.start()
assert profiler.flush()
print(__import__("json").dumps(dict(profiler.health())))
"""
PIP_S = 120.0

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="there is no checkout around")


def files() -> dict[str, str]:
    """The files that the page shows, by name."""
    return dict(re.findall(r"(?m)^`(\S+)`:\n\n```\w+\n((?:.|\n)*?)^```$", PAGE.read_text()))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory into which pip has installed the package of the page."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name, text in files().items():
        (source / name).write_text(text)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(target)]
    finished = subprocess.run(
        [*pip, *options, str(source)], check=False, capture_output=True, text=True, timeout=PIP_S
    )
    assert finished.returncode == 0, finished.stderr
    return target


def test_shows_a_package_with_an_exporter_and_a_processor_in_about_30_lines_each() -> None:
    shown = files()
    assert set(shown) == {"pyproject.toml", "hottest.py", "without_lines.py"}
    lines = {name: len([x for x in text.splitlines() if x]) for name, text in shown.items()}
    assert lines["hottest.py"] <= 35
    assert lines["without_lines.py"] <= 30


def test_the_package_works_as_the_page_says(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    command = re.search(r"(?m)^\$ (OTELPROF_.*)$", PAGE.read_text())
    assert command is not None
    words = shlex.split(command[1])
    assert words[-3:] == ["opentelemetry-instrument", "python", "app.py"]
    variables = dict(word.split("=") for word in words[:-3])
    finished = run(
        [INSTRUMENT, sys.executable, "app.py"],
        tmp_path,
        {"PYTHONPATH": str(installed), **variables},
    )
    assert finished.code == 0, finished.err
    assert finished.said == []
    hottest = [json.loads(x) for x in (tmp_path / "hottest.jsonl").read_text().splitlines()]
    assert {line["kind"] for line in hottest} == {"cpu", "wall"}
    assert any("<genexpr>" in name for line in hottest for name in line["functions"])
    health = finished.facts
    assert health["hottest.delivered_profiles"] >= 2
    assert health["processors.without_lines.in_profiles"] >= 2
    assert health["processors.without_lines.errors"] == 0
    profiles = [p for left in read_all(tmp_path / "otelprof-profiles") for p in left.profiles]
    assert {frame.line for profile in profiles for frame in profile.tables.frames} == {0}
    assert all(profile.problem() is None for profile in profiles)


def test_what_cannot_be_built_is_said_and_lets_nothing_through(
    installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(APP)
    variables = {"OTELPROF_EXPORTER": "hottest", "OTELPROF_PROCESSORS": "with_lines"}
    finished = run(
        [INSTRUMENT, sys.executable, "app.py"],
        tmp_path,
        {"PYTHONPATH": str(installed), **variables},
    )
    assert finished.code == 0, finished.err
    (said,) = finished.said
    assert "otelprof: with_lines: no profiles leave: " in said
    assert "there is no 'with_lines', only enrich, filter, redact, without_lines" in said
    assert not (tmp_path / "hottest.jsonl").exists()
    assert finished.facts["processors.with_lines.dropped_samples"] > 0
