"""Variables that look like settings and are none."""

import pytest

from otelprof.config import Config
from otelprof.environment import from_environment, why_not_instrumented


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("OTELPROF_RTAE", "; is it OTELPROF_RATE?"),
        ("OTELPROF_EXPORTERS", "; is it OTELPROF_EXPORTER?"),
        ("OTELPROF_rate", "; is it OTELPROF_RATE?"),
        ("OTELPROF_PYROSCOPE_URL", None),
        ("OTELPROF_ZZ", ""),
    ],
)
def test_are_said_once_with_what_was_meant(
    variable: str, meant: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        assert from_environment({variable: "100"}) == Config()
    (record,) = caplog.records
    said = record.getMessage()
    assert said.startswith(f"{variable} is not used: there is no such setting")
    if meant is not None:
        assert said.endswith(f"setting{meant}")


def test_that_are_others_or_ours_are_not(caplog: pytest.LogCaptureFixture) -> None:
    environ = {"OTEL_NO_SUCH": "1", "XOTELPROF_RATE": "1", "OTELPROF_RUNNER_PID": "1"}
    assert from_environment(environ) == Config()
    assert caplog.records == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", ""),
        ("requests,flask", ""),
        ("requests , otelprof", "names otelprof"),
        ("*", "names *"),
    ],
)
def test_why_we_would_be_left_out(text: str, why: str) -> None:
    said = why_not_instrumented({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": text})
    assert said.endswith(why)
    assert bool(said) == bool(why)
