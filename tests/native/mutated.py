"""Another build of the core takes the place of the real one: for pytest a plugin (-p tests.native.mutated), and

    python -m tests.native.mutated MODULE ARGUMENTS...

runs a module with it.
"""

import importlib.util
import os
import runpy
import sys

_spec = importlib.util.spec_from_file_location("otelprof._core", os.environ["OTELPROF_TEST_CORE"])
assert _spec is not None
assert _spec.loader is not None
sys.modules["otelprof._core"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["otelprof._core"])

if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__")
