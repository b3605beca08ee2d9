"""Every command in docs/command-line.md works as written, on the program that the README shows."""

import re
from pathlib import Path

import pytest

from tests.support.demo import ROOT
from tests.test_readme import blocks, run

PAGE = ROOT / "docs" / "command-line.md"


@pytest.mark.skipif(not PAGE.exists(), reason="there is no checkout around")
def test_the_commands_in_their_order(tmp_path: Path) -> None:
    """In one go: each stands on what those above it left."""
    (tmp_path / "app.py").write_text(blocks("python")[0])
    found = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    commands = [line[2:] for block in found for line in block.splitlines()]
    assert len(commands) > 15
    printed: dict[str, str] = {}
    for command in commands:
        finished = run(command, tmp_path)
        assert finished.returncode == 0, f"{command}\n{finished.stderr}"
        interrupted = "Traceback" in finished.stderr and " -d " not in command
        assert not interrupted, command
        printed[command] = finished.stdout
    shown = [
        text for command, text in printed.items() if " show " in command and "json" not in command
    ]
    assert shown
    assert all(" CPU, " in text for text in shown)
    assert "count_primes" in printed["otelprof show --span numbers out.pb.gz"]
