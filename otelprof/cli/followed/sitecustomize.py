# ruff: noqa: INP001 - a directory for PYTHONPATH, and no package
"""What Python imports before anything else in a program that `otelprof run` follows.

It is in the place of OpenTelemetry's own `sitecustomize`, and does the same where that and otelprof are installed. Elsewhere
it does nothing, and nowhere does it hide the `sitecustomize` that would have been imported without it.
"""

import importlib.util
import os
import sys
from importlib.machinery import PathFinder

_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib is not there for nothing


def _is_here(path: str) -> bool:
    return os.path.abspath(path) == _HERE  # noqa: PTH100 - as above


def _import_the_next() -> None:
    spec = PathFinder.find_spec("sitecustomize", [path for path in sys.path if not _is_here(path)])
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _instrument() -> None:
    if not all(map(importlib.util.find_spec, ("otelprof", "opentelemetry"))):
        return  # an environment of its own
    # Programs that are started by instrumentation, to look around, are not to be instrumented.
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(
        path for path in before.split(os.pathsep) if path != _HERE
    )
    try:
        from opentelemetry.instrumentation.auto_instrumentation import (  # noqa: PLC0415 - see above
            initialize,
        )

        initialize()
        from otelprof.storage.runs import note_begun  # noqa: PLC0415 - see above

        note_begun(os.environ.get("OTELPROF_LOCAL_DIRECTORY", ""))  # what `otelprof run` sets
    finally:
        os.environ["PYTHONPATH"] = before


try:
    _import_the_next()
finally:
    _instrument()
