"""How far long work is: a line on stderr, on a terminal only, and only where it takes long."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

import click

_PATIENCE_S = 0.5  # what is done by then was not long
_EVERY_S = 0.1

_Item = TypeVar("_Item")


def progress(items: Sequence[_Item], what: str) -> Iterator[_Item]:
    """`items`, one after the other; how many of them are done is said meanwhile."""
    if not sys.stderr.isatty():
        yield from items
        return
    next_s = time.monotonic() + _PATIENCE_S
    has_said = False
    for done, item in enumerate(items):
        now_s = time.monotonic()
        if now_s >= next_s:
            next_s = now_s + _EVERY_S
            has_said = True
            click.echo(f"\rotelprof: {what} {done} of {len(items)}", err=True, nl=False)
        yield item
    if has_said:
        click.echo("\r\x1b[K", err=True, nl=False)
