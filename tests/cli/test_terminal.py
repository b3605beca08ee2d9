"""What the command line does for whoever sits in front of it: colours, progress, help, completion."""

import os
import pty
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from otelprof.formats import pprof
from tests.cli.test_show import CPU
from tests.support.programs import OTELPROF, TIMEOUT_S, environment, run, run_together

BOLD = "\x1b[1m"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "x.pb.gz").write_bytes(pprof.encode([CPU]))
    return tmp_path


def on_a_terminal(command: Sequence[str], cwd: Path, **variables: str) -> str:
    """What a program prints on a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, cwd=cwd, env=environment(**variables), stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    found = b""
    try:
        while part := _read(ours):
            found += part
        assert process.wait(TIMEOUT_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return found.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # what Linux says when the other side is closed
        return b""


class TestColours:
    def test_are_on_terminals_unless_refused(self, directory: Path) -> None:
        command = [OTELPROF, "show", "x.pb.gz"]
        assert BOLD in on_a_terminal(command, directory, TERM="xterm", NO_COLOR="")
        assert BOLD not in on_a_terminal(command, directory, TERM="xterm", NO_COLOR="1")
        assert BOLD not in on_a_terminal(command, directory, TERM="dumb")

    def test_are_elsewhere_if_forced(self, directory: Path) -> None:
        variables = {
            "plain": {"NO_COLOR": ""},
            "forced": {"CLICOLOR_FORCE": "1"},
            "zero": {"CLICOLOR_FORCE": "0"},
        }
        commands = {name: [OTELPROF, "show", "../x.pb.gz"] for name in variables}
        finished = run_together(commands, directory, variables)
        assert {name for name, each in finished.items() if BOLD in each.out} == {"forced"}


class TestProgress:
    def test_of_long_work_is_said_on_a_terminal_only(self, directory: Path) -> None:
        profile = pprof.encode([CPU])
        for number in range(3_000):
            (directory / f"{number}.pb.gz").write_bytes(profile)
        command = [OTELPROF, "show", "--by", "function", "."]
        assert " of 3001" in on_a_terminal(command, directory)
        assert run(command, directory).err == ""


class TestHelp:
    def test_of_every_verb_says_what_it_does_with_examples(self, directory: Path) -> None:
        verbs = ("run", "show", "export", "doctor")
        commands = {verb: [OTELPROF, verb, "--help"] for verb in verbs}
        for verb, finished in run_together(commands, directory).items():
            assert finished.code == 0
            assert f"Usage: otelprof {verb}" in finished.out
            assert "\b" not in finished.out
            assert "\\b" not in finished.out
            assert verb == "doctor" or "Examples:" in finished.out

    def test_is_shown_without_a_verb(self, directory: Path) -> None:
        finished = run([OTELPROF], directory)
        assert (finished.code, finished.out) == (2, "")
        assert "Exit code:" in finished.err


class TestCompletion:
    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_can_be_installed(self, directory: Path, shell: str) -> None:
        finished = run([OTELPROF], directory, {"_OTELPROF_COMPLETE": f"{shell}_source"})
        assert finished.code == 0
        assert "_OTELPROF_COMPLETE=" in finished.out

    def test_knows_verbs_options_formats_and_runs(self, directory: Path, state_home: Path) -> None:
        kept = "shop-20261123T122501-4121-9f3a2b1c"
        (state_home / "otelprof" / "runs" / kept).mkdir(parents=True)
        lines = {
            "verbs": ("otelprof ", {"run", "show", "export", "doctor"}),
            "options": ("otelprof run --", {"--rate", "--collect", "--output"}),
            "formats": ("otelprof show --format ", {"text", "json", "md"}),
            "runs": ("otelprof show ", {"latest", kept}),
        }
        commands = {name: [OTELPROF] for name in lines}
        variables = {
            name: {
                "_OTELPROF_COMPLETE": "bash_complete",
                "COMP_WORDS": line,
                "COMP_CWORD": str(line.count(" ")),
            }
            for name, (line, _) in lines.items()
        }
        for name, finished in run_together(commands, directory, variables).items():
            offered = {line.partition(",")[2] for line in finished.out.splitlines()}
            assert lines[name][1] <= offered, name
