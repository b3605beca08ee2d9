"""`otelprof run` leaves what is around a program as it is: import paths, a `sitecustomize`, other environments."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support.programs import OTELPROF, Finished, read, run, target

BUSY = target("busy.py")


def ran(cwd: Path, *arguments: str | Path, **variables: str) -> Finished:
    finished = run([OTELPROF, "run", *arguments], cwd, variables)
    assert finished.code == 0, finished.err
    return finished


class TestPythonPath:
    # An empty entry is the working directory: `PYTHONPATH=$PYTHONPATH:/lib` makes one.
    @pytest.mark.parametrize("given", ["", ":/nowhere", "/nowhere:", "/nowhere::/elsewhere"])
    def test_is_as_it_was_behind_ours(self, tmp_path: Path, given: str) -> None:
        script = tmp_path / "elsewhere" / "script.py"
        script.parent.mkdir()
        script.write_text("import json, sys\nprint(json.dumps({'path': sys.path}))\n")
        plain = run([sys.executable, script], tmp_path, {"PYTHONPATH": given}).facts["path"]
        under_run = ran(tmp_path, script, PYTHONPATH=given).facts["path"]
        assert [path for path in under_run if path not in _ours(under_run)] == plain
        assert len(_ours(under_run)) == 1


class TestSitecustomize:
    def test_of_the_user_is_run_first_and_what_it_raises_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "site").mkdir()
        customize = tmp_path / "site" / "sitecustomize.py"
        customize.write_text("import sys\nsys.were_there = 'opentelemetry.trace' in sys.modules\n")
        script = tmp_path / "script.py"
        script.write_text(
            "import json, sys\n"
            "sum(i * i for i in range(2_000_000))\n"
            "module = sys.modules.get('sitecustomize')\n"
            "print(json.dumps({'were_there': sys.were_there, 'file': getattr(module, '__file__', '')}))\n"
        )
        arguments = ("-o", "x.pb.gz", script)
        facts = ran(tmp_path, *arguments, PYTHONPATH=str(tmp_path / "site")).facts
        assert facts == {"were_there": False, "file": str(customize)}
        with customize.open("a") as file:
            file.write("raise ValueError('of the user')\n")
        finished = ran(tmp_path, *arguments, PYTHONPATH=str(tmp_path / "site"))
        assert "Error in sitecustomize" in finished.err
        assert "ValueError: of the user" in finished.err
        assert any(profile.kind == "cpu" for profile in read(tmp_path / "x.pb.gz").profiles)

    def test_under_opentelemetry_instrument_there_is_one_instrumentation(
        self, tmp_path: Path
    ) -> None:
        instrument = str(Path(sys.executable).with_name("opentelemetry-instrument"))
        settings = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
        for command in (
            [OTELPROF, "run", "-o", "x.pb.gz", "--", instrument, sys.executable, BUSY],
            [instrument, OTELPROF, "run", "-o", "x.pb.gz", BUSY],
        ):
            finished = run(command, tmp_path, {**settings, "OTELPROF_EXPORTER": "none"})
            assert finished.code == 0, finished.err
            assert "already" not in finished.err
            assert "Overriding" not in finished.err
            assert any(profile.kind == "cpu" for profile in read(tmp_path / "x.pb.gz").profiles)


class TestAnotherEnvironment:
    def test_without_otelprof_runs_as_if_we_were_not_there(self, tmp_path: Path) -> None:
        venv.create(tmp_path / "other", symlinks=True, with_pip=False)
        python = tmp_path / "other" / "bin" / "python"
        script = tmp_path / "script.py"
        script.write_text("import sys\nprint('\"ran\"')\n")
        finished = ran(tmp_path, "--", python, script)
        assert finished.out.strip() == '"ran"'
        (line,) = finished.said  # nothing but that there is no profile
        assert "left no profile" in line

    def test_of_a_child_is_no_reason_not_to_follow_others(self, tmp_path: Path) -> None:
        script = tmp_path / "script.py"
        script.write_text(
            "import json, subprocess, sys\n"
            "codes = [subprocess.run([sys.executable, flag, '-c', 'pass']).returncode for flag in ('-I', '-S', '-E')]\n"
            "codes.append(subprocess.run([sys.executable, '-c', 'pass'], env={}).returncode)\n"
            "sum(i * i for i in range(2_000_000))\n"
            "print(json.dumps(codes))\n"
        )
        finished = ran(tmp_path, "-o", "x.pb.gz", script)
        assert json.loads(finished.out) == [0] * 4
        assert finished.said[0].startswith("otelprof: x.pb.gz: ")


def test_children_of_instrumentation_are_not_instrumented(tmp_path: Path) -> None:
    """What starts programs while it is imported would start them for ever."""
    (tmp_path / "looking.py").write_text(
        "import os, subprocess, sys\n"
        "child = 'import sys; print(\"opentelemetry.trace\" in sys.modules)'\n"
        "done = subprocess.run([sys.executable, '-c', child], capture_output=True, text=True)\n"
        "os.environ['SEEN'] = done.stdout.strip()\n"
        "def load():\n    pass\n"
    )
    info = tmp_path / "looking-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: looking\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[opentelemetry_pre_instrument]\nlooking = looking:load\n"
    )
    script = tmp_path / "script.py"
    script.write_text("import json, os\nprint(json.dumps(os.environ['SEEN']))\n")
    finished = run([OTELPROF, "run", script], tmp_path, {"PYTHONPATH": str(tmp_path)})
    assert finished.code == 0, finished.err
    assert json.loads(finished.out) == "False"


def _ours(paths: list[str]) -> list[str]:
    return [path for path in paths if path.endswith("/cli/followed")]


def test_it_is_not_imported_where_nothing_is_to_be_followed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; print('otelprof' in sys.modules)"],
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == "False"
