"""The demo, and whether its table finds slowness that was planted somewhere at random."""

import random
from pathlib import Path

import pytest

from examples.shop.slowness import CPU_S, PLANTABLE_FUNCTIONS
from tests.support.demo import Demo, run_demo

METHODS = {"/checkout": "POST"}
KINDS = ("cpu", "lock", "sleep")
# Each run of the tests plants elsewhere; the seed is in the test's name.
SEED = random.SystemRandom().randrange(10_000)


def span_name(endpoint: str) -> str:
    return f"{METHODS.get(endpoint, 'GET')} {endpoint}"


def run_planted(directory: Path, plant: str) -> Demo:
    # One request at a time, so that nobody is slow because of somebody else.
    return run_demo(directory, "--seconds", "8", "--concurrency", "1", SHOP_SLOW=plant)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [SEED])
def test_the_table_names_what_was_planted(tmp_path: Path, kind: str, seed: int) -> None:
    choice = random.Random(f"{seed}{kind}")
    endpoint = choice.choice(sorted(PLANTABLE_FUNCTIONS))
    function = choice.choice(PLANTABLE_FUNCTIONS[endpoint])
    plant = f"{endpoint}:{kind}" + (f":{function}" if kind == "cpu" else "")
    demo = run_planted(tmp_path, plant)
    slowest = demo.table()[0]
    assert slowest.name == span_name(endpoint), f"{plant}\n{demo.output}"
    mean_ms = slowest.mean_ns / 1e6
    if kind == "cpu":
        assert mostly_in(demo, slowest.name).endswith(f".{function}"), f"{plant}\n{demo.output}"
        # What is burnt is CPU time by the thread's own clock, however busy the machine is.
        assert slowest.cpu_ns > 0.6 * CPU_S * 1e9 * slowest.count, demo.output
    elif kind == "lock":
        # Blocked on a thread: sampled there, but without CPU time.
        assert slowest.wall_ns > 0.5 * slowest.duration_ns, demo.output
        assert slowest.cpu_ns < 0.2 * slowest.duration_ns, demo.output
    else:
        assert slowest.waiting_ns > 0.7 * slowest.duration_ns, demo.output
    assert mean_ms > 70, demo.output


def mostly_in(demo: Demo, name: str) -> str:
    """What the printed table says: the last column of the span's row."""
    row = next(line for line in demo.output.splitlines() if f"  {name}  " in line)
    return row.rsplit(maxsplit=2)[-2]


def test_without_a_plant_the_table_names_the_known_slowness(tmp_path: Path) -> None:
    demo = run_demo(tmp_path, "--seconds", "8", "--concurrency", "1")
    assert demo.table()[0].name == "GET /report"
    assert mostly_in(demo, "GET /report") == "examples.shop.business.rank_customers"
    report = demo.span("GET /report")
    requests = [span for span in demo.table() if "/" in span.name]
    assert report.cpu_ns > 0.6 * sum(span.cpu_ns for span in requests)
    quote = demo.span("GET /quote")
    assert quote.waiting_ns > 0.5 * quote.duration_ns
    for name in demo.output, demo.errors:
        assert "Traceback" not in name
