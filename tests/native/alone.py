"""Functions of test modules, run in a process of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.native.installed import core

TREE = Path(__file__).parents[2]
TIMEOUT_S = 60.0  # after which a process hangs
_CORE = str(core.__file__)
# The core without the package around it: such an interpreter starts in 20 ms.
ONLY_THE_CORE = f"""\
import importlib.util, sys, threading, time
spec = importlib.util.spec_from_file_location("otelprof._core", {_CORE!r})
_core = importlib.util.module_from_spec(spec)
spec.loader.exec_module(_core)
"""


def run_program(text: str, *, timeout_s: float = TIMEOUT_S) -> subprocess.CompletedProcess[str]:
    """Run Python code in an isolated interpreter, with `_core` at hand."""
    return _run([sys.executable, "-I", "-S", "-c", ONLY_THE_CORE + text], timeout_s)


def run_alone(
    function: Callable[..., Any], *arguments: object, timeout_s: float = TIMEOUT_S
) -> Any:
    """Call a function of a module in a new process and return what it returned, through JSON."""
    call = f"from {function.__module__} import {function.__name__} as function"
    program = f"import json; {call}; print(json.dumps(function(*{arguments!r})))"
    done = _run([sys.executable, "-c", program], timeout_s)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stderr}\n{done.stdout}"
    return json.loads(done.stdout.splitlines()[-1])


def _run(command: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    # A core dump of an expected crash would take longer than the test.
    environment = {**os.environ, "PYTHONFAULTHANDLER": ""}
    return subprocess.run(
        command,
        cwd=TREE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
