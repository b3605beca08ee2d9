"""What `otelprof show` says, for programs. Within a version, members are only added.

    {"format":"otelprof.show","schema_version":1,"summary":{…},"functions":[…],"spans":[…],"tree":[…]}

All times are nanoseconds. The first of the tree stands for everything; `caller` says where in it each one's caller is.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from otelprof import processes, span_table, summary
from otelprof.call_tree import Call, call_tree
from otelprof.cli.describe import losses_of
from otelprof.cli.inputs import Loaded
from otelprof.formats.text import encodable
from otelprof.span_table import SpanTime

SCHEMA_VERSION = 1


def encode(loaded: Loaded, limit: int) -> str:
    """At most `limit` functions, spans and calls of each call; how many there are is said."""
    functions = summary.by_function(loaded.profiles)
    spans = span_table.by_span(loaded.profiles, loaded.spans)
    document = {
        "format": "otelprof.show",
        "schema_version": SCHEMA_VERSION,
        "summary": {
            "duration_ns": max((p.duration_ns for p in loaded.profiles), default=0),
            **{f"{kind}_ns": ns for kind, ns in summary.total_ns(loaded.profiles).items()},
            "spans": len(loaded.spans),
            "processes": sorted(map(int, processes.pids_of(loaded.by_process))),
            "losses": losses_of(loaded),
            "function_count": len(functions),
            "span_name_count": len(spans),
        },
        "functions": [asdict(time) for time in functions[:limit]],
        "spans": [_span(time) for time in spans[:limit]],
        "tree": list(_tree(call_tree(loaded.profiles), limit)),
    }
    return encodable(json.dumps(document, ensure_ascii=False, indent=1))


def _span(time: SpanTime) -> dict[str, Any]:
    cause = span_table.main_cause(time)
    return {
        "name": time.name,
        "count": time.count,
        "duration_ns": time.duration_ns,
        "cpu_ns": time.cpu_ns,
        "wall_ns": time.wall_ns,
        "waiting_ns": time.waiting_ns,
        "mostly_in": cause and cause._asdict(),
        "functions": [asdict(each) for each in span_table.top_functions(time)[:3]],
    }


def _tree(root: Call, limit: int) -> Iterator[dict[str, Any]]:
    """The calls, each behind its caller. Flat: stacks may be deeper than what reads JSON takes."""
    waiting = [(root, -1)]
    number = 0
    while waiting:
        call, caller = waiting.pop()
        yield {
            "function": call.function,
            "caller": caller,
            "cpu_ns": call.cpu_ns,
            "wall_ns": call.wall_ns,
            "self_cpu_ns": call.self_cpu_ns,
            "self_wall_ns": call.self_wall_ns,
        }
        heaviest = sorted(call.calls.values(), key=lambda c: (-c.cpu_ns, -c.wall_ns, c.function))
        waiting.extend((below, number) for below in reversed(heaviest[:limit]))
        number += 1
