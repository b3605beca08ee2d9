"""Large profiles made by chance, the same in every run."""

import random
from collections import Counter
from functools import cache

from otelprof.builder import ProfileBuilder
from otelprof.model import KINDS, Link, Profile
from tests.support.profiles import DURATION_NS, PERIOD_NS, START_UNIX_NS, Row, rows_of

_FUNCTIONS = 400
_LABELS = 5


@cache
def random_profile(
    rows: int, *, depth: int = 30, seed: int = 1, kind: str = "cpu", spans: int = 50
) -> Profile:
    """`rows` distinct samples of `depth` frames, with spans, labels, losses, and text that is not ASCII."""
    rng = random.Random(seed)
    builder = ProfileBuilder(KINDS[kind])
    frames = [
        builder.frame(
            f"app.café.Service{n}.handle", f"/srv/app/file\udce9_{n % 40}.py", n + 1, n + 9, n
        )
        for n in range(_FUNCTIONS)
    ]
    links = [0] + [
        builder.link(Link(rng.randbytes(16), rng.randbytes(8), rng.randbytes(8)))
        for _ in range(spans)
    ]
    labels = [builder.label_set({"thread_name": f"worker-{n}"}) for n in range(_LABELS)]
    for number in range(rows):
        # The leaf tells the stacks apart: 400 x 400 of them.
        leaves = [frames[number % _FUNCTIONS], frames[number // _FUNCTIONS % _FUNCTIONS]]
        stack = builder.stack([*leaves, *rng.choices(frames, k=depth - 2)])
        values = (rng.randrange(1, 9), rng.randrange(1, 10**10))
        builder.add(stack, rng.choice(links), rng.choice(labels), values)
    return builder.build(
        kind=kind,
        start_unix_ns=START_UNIX_NS,
        duration_ns=DURATION_NS,
        period_type=KINDS[kind][1],
        period=PERIOD_NS,
        resource=(("service.name", "shop"), ("process.command_args", ("python", "app.py"))),
        profile_id=rng.randbytes(16),
        losses=(("torn", 3), ("truncated", 2)),
    )


def counted_rows(*profiles: Profile) -> Counter[Row]:
    """The rows of all profiles, whatever their order."""
    return Counter(row for profile in profiles for row in rows_of(profile))
