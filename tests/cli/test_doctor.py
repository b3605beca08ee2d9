"""`otelprof doctor`: what would run, and where every setting comes from."""

import platform
from pathlib import Path

import pytest

from otelprof.version import __version__
from tests.support.core import WHY_NOT
from tests.support.programs import OTELPROF, run


def doctor(cwd: Path, **variables: str) -> dict[str, str]:
    """What it prints, by the first word of each line."""
    finished = run([OTELPROF, "doctor"], cwd, {"OTELPROF_SAMPLER": "", **variables})
    assert finished.code == 0
    pairs = (line.partition(" ") for line in finished.out.splitlines() if line)
    return {name: text.strip() for name, _, text in pairs}


def test_says_which_sampler_would_run_and_why(tmp_path: Path) -> None:
    said = doctor(tmp_path)
    assert said["otelprof"] == __version__
    assert platform.python_version() in said["interpreter"]
    assert said["sampler"] == "auto (default)"  # the setting, which comes last


@pytest.mark.parametrize("asked", ["", "python"])
def test_says_why_not_the_core(tmp_path: Path, asked: str) -> None:
    finished = run([OTELPROF, "doctor"], tmp_path, {"OTELPROF_SAMPLER": asked})
    line = next(line for line in finished.out.splitlines() if line.startswith("sampler"))
    if asked:
        assert line.endswith("python, as OTELPROF_SAMPLER says")
    else:
        assert line.split(maxsplit=1)[1] == (f"python, since {WHY_NOT}" if WHY_NOT else "core")
    assert finished.said == []


def test_says_where_settings_come_from(tmp_path: Path) -> None:
    said = doctor(
        tmp_path,
        OTELPROF_RATE="33",
        OTELPROF_EXPORTER="none",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://general:4317",
        OTEL_EXPORTER_OTLP_PROFILES_HEADERS="key=secret",
    )
    assert said["rate_hz"] == "33.0 (OTELPROF_RATE)"
    assert said["exporters"] == "none (OTELPROF_EXPORTER)"
    assert said["flush_s"] == "15.0 (default)"
    assert said["otlp.endpoint"] == "http://general:4317 (OTEL_EXPORTER_OTLP_ENDPOINT)"
    assert said["otlp.headers"] == "key=… (OTEL_EXPORTER_OTLP_PROFILES_HEADERS)"


def test_shows_no_credential(tmp_path: Path) -> None:
    secrets = dict.fromkeys(("OTELPROF_PYROSCOPE_PASSWORD", "OTELPROF_PYROSCOPE_TOKEN"), "canary")
    said = doctor(
        tmp_path,
        **secrets,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://bob:canary@general:4317",
        OTEL_EXPORTER_OTLP_CERTIFICATE="/etc/ca.pem",
        OTELPROF_PYROSCOPE_ENDPOINT="https://host/?key=canary",
        OTELPROF_PYROSCOPE_USER="12345",
        OTELPROF_PYROSCOPE_HEADERS="a=canary,b=canary",
        OTELPROF_HTTP_HEADERS="a=canary",
        OTELPROF_FILE_MAX_SIZE="64MiB",
    )
    assert not any("canary" in text for text in said.values())
    assert said["otlp.endpoint"] == "http://…@general:4317 (OTEL_EXPORTER_OTLP_ENDPOINT)"
    assert said["otlp.certificate"] == "/etc/ca.pem (OTEL_EXPORTER_OTLP_CERTIFICATE)"
    assert said["pyroscope.endpoint"] == "https://host/?… (OTELPROF_PYROSCOPE_ENDPOINT)"
    assert said["pyroscope.user"] == "12345 (OTELPROF_PYROSCOPE_USER)"
    assert said["pyroscope.password"] == "… (OTELPROF_PYROSCOPE_PASSWORD)"
    assert said["pyroscope.token"] == "… (OTELPROF_PYROSCOPE_TOKEN)"
    assert said["pyroscope.headers"] == "a=…, b=… (OTELPROF_PYROSCOPE_HEADERS)"
    assert said["pyroscope.tenant"] == "none (default)"
    assert said["http.endpoint"] == "none (default)"
    assert said["file.max_size_bytes"] == f"{64 * 1024**2} (OTELPROF_FILE_MAX_SIZE)"
    assert said["file.max_count"] == "none (default)"


def test_names_a_bad_value(tmp_path: Path) -> None:
    finished = run([OTELPROF, "doctor"], tmp_path, {"OTELPROF_RATE": "fast"})
    (line,) = finished.said
    assert "OTELPROF_RATE='fast' is not used" in line


def test_names_what_a_processor_cannot_use_and_hides_what_is_added(tmp_path: Path) -> None:
    variables = {
        "OTELPROF_FILTER_EXCLUDE": "file=~(",
        "OTELPROF_ENRICH_LABELS": "dsn=pg://a:b@c,zone=x",
    }
    said = doctor(tmp_path, **variables)
    assert said["filter_exclude"] == "file=~( (OTELPROF_FILTER_EXCLUDE)"
    assert said["enrich_labels"] == "dsn=…, zone=… (OTELPROF_ENRICH_LABELS)"
    (line,) = run([OTELPROF, "doctor"], tmp_path, variables).said
    assert "filter: no profiles leave: filter_exclude: file: '(' is no regular expression" in line


@pytest.mark.parametrize(
    ("variable", "name", "problem"),
    [
        ("OTELPROF_EXPORTER", "fiel", "otelprof.exporters: there is no 'fiel', only "),
        ("OTELPROF_COLLECT", "cpuu", "otelprof.collectors: there is no 'cpuu', only "),
        ("OTELPROF_EXPORTER", "http", "OTELPROF_HTTP_ENDPOINT"),
    ],
)
def test_names_what_is_asked_for_and_cannot_be_had(
    tmp_path: Path, variable: str, name: str, problem: str
) -> None:
    finished = run([OTELPROF, "doctor"], tmp_path, {variable: name})
    (line,) = finished.said
    assert line.startswith("otelprof: ")
    assert problem in line


def test_names_what_keeps_it_from_starting_and_what_is_misspelt(tmp_path: Path) -> None:
    variables = {
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "flask, otelprof",
        "OTELPROF_EXPOTER": "file",
    }
    finished = run([OTELPROF, "doctor"], tmp_path, variables)
    misspelt, disabled = finished.said
    assert misspelt.endswith(
        "OTELPROF_EXPOTER is not used: there is no such setting; is it OTELPROF_EXPORTER?"
    )
    assert disabled == (
        "otelprof: OTEL_PYTHON_DISABLED_INSTRUMENTATIONS names otelprof: "
        "opentelemetry-instrument and otelprof run do not start the profiler"
    )
