"""What a backend says about a service or a span, as far as tests compare it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FlameGraph:
    """The answer of a backend to a query.

    Attributes:
        total: the sum of all values.
        own: by function, what is its own and not of those that it calls.
    """

    total: int
    own: Counter[str]

    @classmethod
    def of(cls, answer: dict[str, Any]) -> "FlameGraph":
        """What Pyroscope answers: levels of nodes, with distance, total, self and name of each."""
        graph: dict[str, Any] = answer.get("flamegraph") or {}
        names: Sequence[str] = graph.get("names", [])
        own: Counter[str] = Counter()
        for level in graph.get("levels", []):
            values = [int(value) for value in level["values"]]
            for self_value, name in zip(values[2::4], values[3::4], strict=True):
                own[names[name]] += self_value
        own.pop("total", None)
        return cls(int(graph.get("total", 0)), +own)

    def bare(self) -> Counter[str]:
        """What is the functions' own, by their names without module and class."""
        sums: Counter[str] = Counter()
        for name, value in self.own.items():
            sums[name.rpartition(".")[2]] += value
        return sums
