"""Who called whom, and how long that took: the stacks of profiles as one tree.

A pure function on profiles; the command line shows what it returns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from otelprof.model import Profile

KINDS = ("cpu", "wall")


@dataclass(slots=True)
class Call:
    """A function, called by the one above it. Times are nanoseconds and include what it calls.

    Attributes:
        function: its name; empty for the root, which stands for everything.
        calls: what it calls, by name.
    """

    function: str = ""
    cpu_ns: int = 0
    wall_ns: int = 0
    self_cpu_ns: int = 0
    self_wall_ns: int = 0
    calls: "dict[str, Call]" = field(default_factory=dict[str, "Call"])

    def weight(self, kind: str) -> int:
        """`cpu_ns` or `wall_ns`."""
        return self.cpu_ns if kind == "cpu" else self.wall_ns

    def heaviest(self, kind: str, least_ns: float) -> "list[Call]":
        """The calls of at least so much time, most first."""
        found = [call for call in self.calls.values() if call.weight(kind) >= max(least_ns, 1)]
        return sorted(found, key=lambda call: (-call.weight(kind), call.function))


def call_tree(profiles: Sequence[Profile]) -> Call:
    """All stacks, root first; a function that calls itself stands below itself. O(frames of all rows)."""
    root = Call()
    for profile in profiles:
        if profile.kind not in KINDS:
            continue
        tables = profile.tables
        names = [tables.function_name(frame) for frame in range(len(tables.frames))]
        for stack, weight_ns in zip(profile.stack, profile.column(profile.kind), strict=True):
            path = [names[frame] for frame in reversed(tables.stacks[stack])]
            _add(root, path, profile.kind, weight_ns)
    return root


def _add(root: Call, path: list[str], kind: str, weight_ns: int) -> None:
    call = root
    for call in _way(root, path):
        if kind == "cpu":
            call.cpu_ns += weight_ns
        else:
            call.wall_ns += weight_ns
    if kind == "cpu":
        call.self_cpu_ns += weight_ns
    else:
        call.self_wall_ns += weight_ns


def _way(root: Call, path: list[str]) -> Iterator[Call]:
    """The root and the calls on the way to the leaf, made where they are not there."""
    call = root
    yield call
    for name in path:
        following = call.calls.get(name)
        if following is None:
            following = call.calls[name] = Call(name)
        call = following
        yield call
