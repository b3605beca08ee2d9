"""What otelprof has to say is seen once, whoever else has handlers."""

import sys
from pathlib import Path

import pytest

from tests.support.programs import run

SAYS = "import otelprof\notelprof.start(exporters=())\notelprof.stop()\n"
THEIRS = """
import logging
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
logging.getLogger().addHandler(LoggingHandler(logger_provider=LoggerProvider()))
"""
OWN = "import logging\nlogging.basicConfig(format='theirs: %(message)s')\n"
SILENT = "import logging\nlogging.getLogger('otelprof').addHandler(logging.NullHandler())\n"
LINE = "OTELPROF_RAET is not used: there is no such setting; is it OTELPROF_RATE?"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        pytest.param(SAYS, [LINE], id="nobody"),
        pytest.param(THEIRS + SAYS, [LINE], id="opentelemetry"),
        pytest.param(THEIRS + OWN + SAYS, [LINE], id="basicConfig, which does nothing then"),
        pytest.param(OWN + SAYS, [f"theirs: {LINE}"], id="the application"),
        pytest.param(OWN + THEIRS + SAYS, [f"theirs: {LINE}"], id="both"),
        pytest.param(SILENT + SAYS, [], id="silent"),
    ],
)
def test_a_line_is_shown_once(tmp_path: Path, program: str, said: list[str]) -> None:
    finished = run(
        [sys.executable, "-W", "ignore", "-c", program], tmp_path, {"OTELPROF_RAET": "1"}
    )
    assert finished.code == 0
    assert finished.err.splitlines() == said
