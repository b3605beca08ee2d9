"""A profile whose call tree has as many nodes as a test wants, and a span for each request of a shop."""

import random
from functools import cache

from otelprof.builder import ProfileBuilder
from otelprof.model import KINDS, NO_LINK, Link, Profile, SpanRecord
from tests.support.profiles import DURATION_NS, PERIOD_NS, START_UNIX_NS

_FUNCTIONS = 3_000
_DEPTH = 60
_PACKAGES = ("/srv/shop/", "/venv/lib/python3.11/site-packages/", "/usr/lib/python3.11/")
_MS = 1_000_000


@cache
def large_tree(
    nodes: int, *, spans: int = 0, seed: int = 1
) -> tuple[list[Profile], list[SpanRecord]]:
    """CPU and wall profiles with `nodes` places in their call tree, with samples in the leaves, and `spans` root spans."""
    rng = random.Random(seed)
    records = [_span(rng, number) for number in range(spans)]
    parents, functions, depths = [0], [0], [0]
    is_leaf = [True]
    while len(parents) < nodes + 1:
        # Mostly below a young node, so that the tree is deep as well as broad.
        parent = rng.randrange(max(0, len(parents) - 400), len(parents))
        while depths[parent] >= _DEPTH:
            parent = parents[parent] // 2
        is_leaf[parent] = False
        parents.append(parent)
        functions.append(len(parents))  # siblings are never the same
        depths.append(depths[parent] + 1)
        is_leaf.append(True)
    profiles: list[Profile] = []
    for kind in ("cpu", "wall"):
        builder = ProfileBuilder(KINDS[kind])
        frames = [
            builder.frame(
                f"shop.part{n % 40}.Class{n % 300}.method_{n}",
                f"{_PACKAGES[n % 3]}part{n % 40}.py",
                n + 1,
                n + 2,
            )
            for n in range(_FUNCTIONS)
        ]
        labels = builder.label_set({"thread_name": "MainThread"})
        links = [builder.link(_link(span)) for span in records] or [builder.link(NO_LINK)]
        for leaf in range(1, len(parents)):
            if not is_leaf[leaf]:
                continue
            stack: list[int] = []
            node = leaf
            while node:
                # Functions repeat, but not among siblings and not in the order of the nodes.
                stack.append(frames[functions[node] * 7919 % _FUNCTIONS])
                node = parents[node]
            samples = rng.randrange(1, 5)
            builder.add(
                builder.stack(stack), rng.choice(links), labels, (samples, samples * PERIOD_NS)
            )
        profiles.append(
            builder.build(
                kind=kind,
                start_unix_ns=START_UNIX_NS,
                duration_ns=DURATION_NS,
                period_type=KINDS[kind][1],
                period=PERIOD_NS,
                resource=(("service.name", "shop"),),
            )
        )
    return profiles, records


def _span(rng: random.Random, number: int) -> SpanRecord:
    span_id = rng.randbytes(8)
    start_ns = START_UNIX_NS + number * _MS
    return SpanRecord(
        trace_id=rng.randbytes(16),
        span_id=span_id,
        parent_span_id=b"",
        local_root_span_id=span_id,
        name=f"GET /{number % 20}",
        kind=2,
        route="",
        status=0,
        start_unix_ns=start_ns,
        end_unix_ns=start_ns + rng.randrange(1, 900) * _MS,
        thread="MainThread",
    )


def _link(span: SpanRecord) -> Link:
    return Link(span.trace_id, span.span_id, span.local_root_span_id)
