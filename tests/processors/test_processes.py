"""Processors at work in real processes: what is in the files that these leave."""

import gzip
import sys
from pathlib import Path

import pytest

from tests.support.programs import INSTRUMENT, Finished, read_all, run, target

CANARY = "hunter2canary"
FUNCTION = "burn_secretly"


def secretive(cwd: Path, **variables: str) -> Finished:
    """A process with a canary in its resource, thread, span and in the path of a function."""
    finished = run(
        [INSTRUMENT, sys.executable, target("secretive.py"), CANARY],
        cwd,
        {
            "OTELPROF_EXPORTER": "file",
            "OTELPROF_RATE": "200",
            "OTEL_RESOURCE_ATTRIBUTES": f"db.password={CANARY},process.command_line=go%20{CANARY}",
            **variables,
        },
    )
    assert finished.code == 0, finished.err
    assert finished.said == []
    return finished


def written(cwd: Path) -> dict[str, bytes]:
    """The content of all files, joined by the end of their names."""
    profiles = sorted((cwd / "otelprof-profiles").glob("*.pb.gz"))
    spans = sorted((cwd / "otelprof-profiles").glob("*.spans.jsonl"))
    return {
        "profiles": b"".join(gzip.decompress(path.read_bytes()) for path in profiles),
        "spans": b"".join(path.read_bytes() for path in spans),
    }


def test_what_leaves_tells_nothing_of_what_is_redacted(tmp_path: Path) -> None:
    secretive(tmp_path)
    files = written(tmp_path)
    assert FUNCTION.encode() in files["profiles"]
    assert b"~/shop/app.py" in files["profiles"]
    assert b"pg://[redacted]@db" in files["profiles"]
    assert b"GET /cb?token=[redacted]&page=2" in files["spans"]
    assert {name for name, content in files.items() if CANARY.encode() in content} == set()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("profiles", f"/home/{CANARY}/shop/app.py"),
        ("profiles", f"pg://bob:{CANARY}@db"),
        ("profiles", f"db.password={CANARY}"),
        ("profiles", f"go {CANARY}"),
        ("spans", f"GET /cb?token={CANARY}&page=2"),
        ("spans", f"pg://bob:{CANARY}@db"),
        ("spans", f"go {CANARY}"),
    ],
)
def test_without_redact_it_would(unredacted: dict[str, bytes], kind: str, text: str) -> None:
    assert text.encode() in unredacted[kind]


@pytest.fixture(scope="module")
def unredacted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    cwd = tmp_path_factory.mktemp("unredacted")
    secretive(cwd, OTELPROF_PROCESSORS="none")
    return written(cwd)


def test_what_is_filtered_is_counted_and_what_is_left_has_its_labels(tmp_path: Path) -> None:
    finished = secretive(
        tmp_path,
        OTELPROF_FILTER_EXCLUDE=f"function={FUNCTION}",
        OTELPROF_ENRICH_LABELS="zone=$ZONE",
        ZONE="b",
    )
    health = finished.facts["health"]
    assert health["processors.filter.dropped_samples"] > 0
    assert health["processors.filter.in_profiles"] == health["collected_profiles"]
    assert health["processors.redact.out_profiles"] == health["file.delivered_profiles"]
    profiles = [
        profile for left in read_all(tmp_path / "otelprof-profiles") for profile in left.profiles
    ]
    lost = [dict(profile.losses) for profile in profiles]
    assert sum(losses.get("filtered_cpu_nanoseconds", 0) for losses in lost) > 50_000_000
    for profile in profiles:
        tables = profile.tables
        assert FUNCTION not in tables.strings
        assert {tables.labels_of(row).get("zone") for row in set(profile.labels)} == {"b"}
