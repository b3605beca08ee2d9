"""Refuse to build from a checkout whose two links were not restored as links.

`otelprof/exporters` and `otelprof/instrumentation` are relative links to the folders at the top
(docs/decisions/0001). Git for Windows without symlink support checks them out as text files.
"""

from pathlib import Path

from setuptools import setup

_HERE = Path(__file__).parent
for _name in ("exporters", "instrumentation"):
    _package = _HERE / "otelprof" / _name / "__init__.py"
    if not _package.is_file():
        raise SystemExit(
            f"otelprof/{_name} is not a link to {_name}/: check the repository out with "
            "`git config core.symlinks true`, or build from the sdist",
        )

setup()
