"""How much is in a profile: totals, distinct functions and stacks, how deep the stacks are."""

from collections import Counter
from dataclasses import dataclass
from itertools import chain

from otelprof.model import Profile, ValueType


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the rows of a profile add up to. Table entries that no row names are not counted.

    Attributes:
        rows: of the profile.
        totals: the sum of each value column.
        functions, frames, stacks, links, label_sets: how many different ones the rows name; no link and no labels are none.
        depths: how many of the stacks have how many frames, least deep first.
    """

    rows: int
    totals: dict[ValueType, int]
    functions: int
    frames: int
    stacks: int
    links: int
    label_sets: int
    depths: tuple[tuple[int, int], ...]

    @property
    def max_depth(self) -> int:
        """Frames of the deepest stack; 0 if there is none."""
        return self.depths[-1][0] if self.depths else 0

    def depth_of(self, share: float) -> int:
        """The least depth that this share of the stacks, above 0 to 1, does not exceed; 0 if there is none.

        Raises:
            ValueError: `share` is out of its range.
        """
        if not 0 < share <= 1:
            raise ValueError(f"share {share} is not above 0 to 1")
        seen = 0
        for depth, stacks in self.depths:
            seen += stacks
            if seen >= share * self.stacks:
                return depth
        return 0


def statistics(profile: Profile) -> Statistics:
    """Count. O(rows + frames of the stacks that they name)."""
    tables = profile.tables
    stacks = {tables.stacks[row] for row in set(profile.stack)}
    frames = set(chain.from_iterable(stacks))
    totals = (sum(column) for column in profile.values)
    return Statistics(
        rows=len(profile),
        totals=dict(zip(profile.value_types, totals, strict=True)),
        functions=len({tables.frames[row].function for row in frames}),
        frames=len(frames),
        stacks=len(stacks),
        links=len(set(profile.link) - {0}),
        label_sets=len(set(profile.labels) - {0}),
        depths=tuple(sorted(Counter(map(len, stacks)).items())),
    )
