"""`web`, for uWSGI, with something of its own to do after the fork."""

import uwsgidecorators  # pyright: ignore[reportMissingImports] # it is there where uWSGI is

from tests.targets.web import app

__all__ = ["app"]


def prepare() -> None:
    """What an application would do here: open its connections."""


uwsgidecorators.postfork(prepare)
