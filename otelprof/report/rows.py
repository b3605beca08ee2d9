"""Rows that are interned, and leave as columns."""

from collections.abc import Sequence
from typing import Generic, TypeVar

_Row = TypeVar("_Row")


class Rows(Generic[_Row]):
    """Rows in the order of their first use, each once. Row 0 is the null value."""

    def __init__(self, null: _Row) -> None:
        self.rows = [null]
        self._index = {null: 0}

    def add(self, row: _Row) -> int:
        """The number of `row`."""
        number = self._index.setdefault(row, len(self.rows))
        if number == len(self.rows):
            self.rows.append(row)
        return number


def columns(rows: Sequence[tuple[object, ...]], *names: str) -> dict[str, tuple[object, ...]]:
    """The rows as columns of these names."""
    return (
        dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
    )
