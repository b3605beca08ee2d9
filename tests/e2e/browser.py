"""Headless Chromium, and speedscope's own page to open in it.

`make browser` gets both: speedscope from its npm package, of a pinned version, into a cache outside the tree, and Chromium,
where there is none, as a Debian package. A test that needs them skips with a reason where one is missing, or fails where
OTELPROF_REQUIRE_BROWSER=1.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

from tests.e2e.backends.programs import cache

SPEEDSCOPE_VERSION = "1.25.0"

_PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_DEBIAN_PACKAGE = "chromium-headless-shell"
_GET_TIMEOUT_S = 600
_RENDER_TIMEOUT_S = 60
# Of the page's own clock, which stands still while it loads and jumps while it waits.
_PAGE_MS = 20_000


def speedscope() -> Path:
    """What is published as the page and its schema, whether it is there or not."""
    return cache() / f"speedscope-{SPEEDSCOPE_VERSION}" / "dist" / "release"


def chromium() -> Path | None:
    """The browser, if there is one."""
    found = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    return Path(found) if found else None


def required_speedscope() -> Path:
    """The page, or a skip or a failure of the test that needs it."""
    if not speedscope().is_dir():
        missing(f"{speedscope()} is not there")
    return speedscope()


def required_chromium() -> Path:
    """The browser, or a skip or a failure of the test that needs it."""
    return chromium() or missing(f"none of {', '.join(_PROGRAMS)} is there")


def missing(what: str) -> NoReturn:
    """Skip the test for want of `what`, or fail it where it is required."""
    reason = f"{what}: run `make browser`"
    if os.environ.get("OTELPROF_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def rendered(url: str) -> str:
    """The page at `url` as HTML, once nothing happens in it any more."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            str(required_chromium()),
            "--headless",
            "--no-sandbox",  # it refuses to run as root otherwise, and opens nothing but our own page
            "--disable-dev-shm-usage",
            "--enable-unsafe-swiftshader",  # WebGL without a graphics card
            f"--user-data-dir={profile}",
            f"--virtual-time-budget={_PAGE_MS}",
            "--dump-dom",
            url,
        ]
        finished = subprocess.run(
            command, check=False, capture_output=True, timeout=_RENDER_TIMEOUT_S
        )
    assert finished.returncode == 0, finished.stderr
    return (
        finished.stdout.decode()
    )  # as it is: text mode would turn a carriage return into a line feed


def get() -> None:
    """Get what is missing."""
    if not speedscope().is_dir():
        cache().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache()) as directory:
            _get_speedscope(Path(directory))
            # Renamed into place, so that a download that was cut short leaves nothing behind.
            (Path(directory) / "package").replace(speedscope().parents[1])
    if chromium() is None:
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            raise SystemExit(
                f"browser: Chromium is needed, and installed here by root on Debian only: {_PROGRAMS}"
            )
        install = ("install", "-y", "--no-install-recommends", _DEBIAN_PACKAGE)
        for arguments in (("update",), install):
            subprocess.run(["apt-get", "-q", *arguments], check=True, timeout=_GET_TIMEOUT_S)
    sys.stdout.write(f"{speedscope()}\n{chromium()}\n")


def _get_speedscope(directory: Path) -> None:
    if shutil.which("npm") is None:
        raise SystemExit("browser: npm is needed to get speedscope")
    command = ["npm", "pack", "--silent", f"speedscope@{SPEEDSCOPE_VERSION}"]
    subprocess.run(command, cwd=directory, check=True, timeout=_GET_TIMEOUT_S)
    (archive,) = directory.glob("*.tgz")
    with tarfile.open(archive) as package:
        package.extractall(directory, filter="data")


if __name__ == "__main__":
    get()
