"""The application's own function behind each stack.

That is the innermost one of its code that has to do with the span: a frame that stands, by the same way from the root, on
stacks without a span, too, has not: it is the `main` that runs the event loop. Where nothing is left, it is the leaf.
The report's page follows the same rule in `page/causes.js`, and the tests compare both.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from otelprof.model import UNKNOWN_SPAN_LABEL, Profile, Tables
from otelprof.origins import origin_of

_Frame = tuple[str, str, int]  # function, file, line
_ROOT = 0


class Behind(NamedTuple):
    """The name of the function behind a stack, empty for the empty one, and whether it is the application's own."""

    function: str
    is_own: bool


def own_functions(profiles: Sequence[Profile]) -> list[list[Behind]]:
    """For each profile, for each of its stacks the function behind it.

    O(frames on distinct stacks) time.
    """
    tree = _Tree()
    leaves = [tree.add(profile.tables) for profile in profiles]
    for profile, nodes in zip(profiles, leaves, strict=True):
        for stack in _without_span(profile):
            tree.mark(nodes[stack])
    return [[tree.own_function(node) for node in nodes] for nodes in leaves]


def _without_span(profile: Profile) -> Iterator[int]:
    """Stacks of samples of which it is known that no span was current."""
    tables = profile.tables
    key, unknown = UNKNOWN_SPAN_LABEL
    is_unknown = [tables.labels_of(n).get(key) == unknown for n in range(len(tables.label_sets))]
    for stack, link, labels in zip(profile.stack, profile.link, profile.labels, strict=True):
        if not tables.links[link].span_id and not is_unknown[labels]:
            yield stack


class _Tree:
    """Stacks of all profiles as one tree of frames, from the root on. Parents stand before their children."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[int, _Frame], int] = {}
        self._parents = [_ROOT]
        self._functions = [""]
        self._is_own = [False]  # the application's code
        self._is_outside = [True]  # on a stack without a span

    def add(self, tables: Tables) -> list[int]:
        """Take in all stacks. Gives the node of the leaf of each."""
        frames = [
            (tables.function_name(row), tables.strings[tables.function_of(row).filename], line)
            for row, (_, line, _) in enumerate(tables.frames)
        ]
        is_own = [origin_of(name, filename) == "application" for name, filename, _ in frames]
        leaves: list[int] = []
        for stack in tables.stacks:
            node = _ROOT
            for frame in reversed(stack):
                node = self._child(node, frames[frame], is_own=is_own[frame])
            leaves.append(node)
        return leaves

    def _child(self, parent: int, frame: _Frame, *, is_own: bool) -> int:
        node = self._nodes.setdefault((parent, frame), len(self._parents))
        if node == len(self._parents):
            self._parents.append(parent)
            self._functions.append(frame[0])
            self._is_own.append(is_own)
            self._is_outside.append(False)
        return node

    def mark(self, leaf: int) -> None:
        """Note that this stack has been seen without a span."""
        while not self._is_outside[leaf]:
            self._is_outside[leaf] = True
            leaf = self._parents[leaf]

    def own_function(self, leaf: int) -> Behind:
        """What is behind this stack."""
        node = leaf
        while node != _ROOT:
            if self._is_own[node] and not self._is_outside[node]:
                return Behind(self._functions[node], is_own=True)
            node = self._parents[node]
        return Behind(self._functions[leaf], is_own=False)
