"""What `otelprof show` says, for people: tables in a terminal, or in Markdown."""

import re
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import click

from otelprof import span_table, summary
from otelprof.call_tree import Call, call_tree
from otelprof.cli.describe import describe
from otelprof.cli.inputs import Loaded
from otelprof.span_table import SpanTime

_NS_PER_MS = 1e6
_LEAST_SHARE = 0.01  # what is less of a tree is left out
_EVERYTHING = "(everything)"
_BRANCHES = ("├─ ", "└─ ", "│  ", "   ")
_PLAIN_BRANCHES = ("|- ", "`- ", "|  ", "   ")


class Block(NamedTuple):
    """A table, or, without a header, a line.

    Attributes:
        left_columns: how many columns, from the right, are text and begin at the left.
        rest: what is not shown of it, in words; empty for nothing.
    """

    title: str
    header: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()
    left_columns: int = 1
    rest: str = ""


def blocks(loaded: Loaded, by: str, limit: int) -> list[Block]:
    """What is asked for by `by`: `function`, `span`, `tree`, or `all` for functions and tree."""
    found = [Block(describe(loaded))]
    if by in {"all", "function"}:
        found.append(_functions(summary.by_function(loaded.profiles), limit))
    if by == "span":
        found.append(_spans(span_table.by_span(loaded.profiles, loaded.spans), limit))
    if by in {"all", "tree"}:
        found.append(_tree(call_tree(loaded.profiles), 2 * limit))
    return found


def text(found: Sequence[Block]) -> str:
    """For a terminal: columns of equal width."""
    return "\n\n".join("\n".join(_text_lines(block)) for block in found)


def markdown(found: Sequence[Block]) -> str:
    """For a page, a ticket or a language model."""
    return "\n\n".join("\n".join(_markdown_lines(block)) for block in found)


def _functions(times: list[summary.FunctionTime], limit: int) -> Block:
    rows = [
        (
            _ms(time.self_cpu_ns),
            _ms(time.total_cpu_ns),
            _ms(time.self_wall_ns),
            _ms(time.total_wall_ns),
            shown(time.function),
        )
        for time in times[:limit]
    ]
    header = ("self CPU", "total CPU", "self wall", "total wall", "function")
    return Block("Functions", header, rows, rest=_rest(len(times), limit))


def _spans(times: list[SpanTime], limit: int) -> Block:
    header = ("count", "mean", "total", "CPU", "on thread", "waiting", "span", "mostly in")
    rows = [
        (
            str(time.count or ""),
            _ms(time.mean_ns) if time.count else "",
            _ms(time.duration_ns) if time.count else "",
            _ms(time.cpu_ns),
            _ms(time.wall_ns),
            _ms(time.waiting_ns) if time.count else "",
            shown(time.name),
            _mostly_in(time),
        )
        for time in times[:limit]
    ]
    return Block("Spans", header, rows, left_columns=2, rest=_rest(len(times), limit))


def _mostly_in(time: SpanTime) -> str:
    cause = span_table.main_cause(time)
    if cause is None:
        return "-"
    where = f" in {shown(cause.span)}" if cause.span else ""
    where += f" of {shown(cause.span_function)}" if cause.span_function else ""
    blocked = cause.function != span_table.WAITING and cause.is_on_cpu is False
    state = ", mostly not on CPU" if blocked else ""
    return f"{shown(cause.function)} {cause.share:.0%}{where}{state}"


def _tree(root: Call, limit: int) -> Block:
    """The calls with most of the CPU time, or of the wall time where there is no CPU time."""
    kind = "cpu" if root.cpu_ns else "wall"
    lines = list(_tree_lines(root, kind))
    rows = [
        (
            f"{call.weight(kind) / max(root.weight(kind), 1):.0%}",
            _ms(call.cpu_ns),
            _ms(call.wall_ns),
            f"{branch}{shown(call.function) or _EVERYTHING}",
        )
        for branch, call in lines[:limit]
    ]
    name = "CPU" if kind == "cpu" else "wall"
    header = ("share", "CPU", "wall", f"calls by {name}, from {_LEAST_SHARE:.0%} on")
    return Block("Calls", header, rows, rest=_rest(len(lines), limit, per_row=2))


def _tree_lines(root: Call, kind: str) -> Iterator[tuple[str, Call]]:
    """Each call with what is drawn in front of it. A call with one callee has that right below it, without a branch."""
    fork, last_fork, going_on, nothing = _branches()
    least_ns = _LEAST_SHARE * root.weight(kind)
    waiting: list[tuple[str, str, Call]] = [("", "", root)]
    while waiting:  # not by recursion: stacks may be deeper than Python's own may get
        branch, below, call = waiting.pop()
        yield branch, call
        callees = call.heaviest(kind, least_ns)
        if len(callees) == 1:
            waiting.append((below, below, callees[0]))
            continue
        for callee in reversed(callees):
            is_last = callee is callees[-1]
            waiting.append(
                (
                    below + (last_fork if is_last else fork),
                    below + (nothing if is_last else going_on),
                    callee,
                )
            )


def _branches() -> tuple[str, str, str, str]:
    """Lines, if the terminal has such characters."""
    try:
        "".join(_BRANCHES).encode(sys.stdout.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return _PLAIN_BRANCHES
    return _BRANCHES


def shown(name: str) -> str:
    """`name` without what would move the cursor or set colours: names are the application's, and its clients'."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in name
    )


def _text_lines(block: Block) -> Iterator[str]:
    if not block.header:
        yield block.title
        return
    header, rows = block.header, block.rows
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    right = len(header) - block.left_columns
    for row in (header, *rows):
        cells = [
            cell.rjust(width) if column < right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line = "  ".join(cells).rstrip()
        yield click.style(line, bold=True) if row is header else line
    if block.rest:
        yield click.style(block.rest, dim=True)


def _markdown_lines(block: Block) -> Iterator[str]:
    if not block.header:
        yield block.title
        return
    right = len(block.header) - block.left_columns
    yield f"### {block.title}"
    yield ""
    yield _markdown_row(block.header)
    yield _markdown_row(
        ["---:" if column < right else "---" for column in range(len(block.header))]
    )
    yield from (_markdown_row([*row[:right], *map(_code, row[right:])]) for row in block.rows)
    if block.rest:
        yield ""
        yield block.rest


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _code(cell: str) -> str:
    """Text that Markdown leaves alone; spaces in front are kept as ones that it does not cut."""
    fence = "`" * (max(map(len, re.findall("`+", cell)), default=0) + 1)
    space = " " if "`" in cell else ""
    kept = re.sub("^ +", lambda match: "\u00a0" * len(match[0]), cell.replace("|", "\\|"))
    return f"{fence}{space}{kept}{space}{fence}" if cell else ""


def _rest(rows: int, limit: int, *, per_row: int = 1) -> str:
    """How to have what is not shown."""
    if rows <= limit:
        return ""
    return f"{limit} of {rows} rows shown; -n {-(-rows // per_row)} for all"


def _ms(ns: float) -> str:
    return f"{ns / _NS_PER_MS:,.1f} ms"
