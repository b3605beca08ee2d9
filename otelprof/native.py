"""Whether the C core, `otelprof._core`, can be used in this interpreter, and if not, why.

Whoever wants it asks `why_not` first and then imports it inside of a function, so that otelprof works
where there is none. That it works is known only when a `_core.Sampler` has been made, which tests itself.
"""

import importlib
import sys

# Whose memory layouts _native/compat.h knows. Another one's could be read wrongly without being noticed.
KNOWN_VERSIONS = ((3, 11), (3, 12), (3, 13), (3, 14), (3, 15))

_IMPLEMENTATIONS = {"pypy": "PyPy", "graalpy": "GraalPy"}
_SYSTEMS = {"darwin": "macOS", "win32": "Windows", "cygwin": "Windows"}


def why_not() -> str:
    """Why the C core cannot be used here, in words that go on after "since"; empty if nothing is known."""
    return _of_interpreter() or _of_module()


def _of_interpreter() -> str:
    if sys.implementation.name != "cpython":
        return f"this is {_IMPLEMENTATIONS.get(sys.implementation.name, sys.implementation.name)}"
    if sys.platform != "linux":
        return f"this is {_SYSTEMS.get(sys.platform, sys.platform)}"
    version = sys.version_info[:2]
    if version not in KNOWN_VERSIONS:
        return f"CPython {_text(version)} is not known to the C core"
    if "t" in sys.abiflags:  # as the names of such interpreters end, python3.13t
        return "this is a free-threaded CPython"
    return ""


def _of_module() -> str:
    try:
        # Not `from otelprof import _core`, which does not say which module is missing.
        core = importlib.import_module("otelprof._core")
    except ModuleNotFoundError as error:
        return f"the C core is not built: {error}"
    except ImportError as error:
        return f"the C core cannot be loaded: {error}"
    built_for = (core.COMPILED_FOR >> 24, core.COMPILED_FOR >> 16 & 0xFF)
    running = sys.version_info[:2]
    if built_for != running:
        return f"the C core was built for CPython {_text(built_for)}, this is {_text(running)}"
    return ""


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
