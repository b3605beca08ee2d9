"""Whose code a function is, by its file: the application's, a library's, the standard library's, or nobody's.

Files of other machines are judged, too, so none is looked at. The report's page follows the same rule in `page/profile.js`,
and the tests compare both.
"""

import re
from typing import Literal

Origin = Literal["application", "library", "standard library", "no code"]

_PACKAGES = re.compile(r"[/\\](?:site|dist)-packages[/\\]")
# What pip writes for entry points: a file without a suffix that calls one function.
_CONSOLE_SCRIPT = re.compile(r"[/\\](?:bin|Scripts)[/\\][^./\\]+$")
_STANDARD_LIBRARY = re.compile(
    r"[/\\]lib(?:64)?[/\\]python\d[\d.]*t?[/\\]|^<frozen ", re.IGNORECASE
)
# Otelprof itself may run from a checkout.
_OURS = "otelprof."


def origin_of(name: str, filename: str) -> Origin:
    """Whose the function `name` in `filename` is. What is no code, such as "(stack not read)", has no file."""
    if not filename and (not name or name.startswith("(")):
        return "no code"
    if name.startswith(_OURS) or _PACKAGES.search(filename) or _CONSOLE_SCRIPT.search(filename):
        return "library"
    return "standard library" if _STANDARD_LIBRARY.search(filename) else "application"
