"""``python -m examples.shop.client URL``: customers, each of whom sends one request at a time.

A closed loop: the shop's own speed sets the rate. Whoever is free takes the next endpoint of a
rotation that all share, shuffled anew each time round, so that all endpoints get the same number
of requests however slow one of them is.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx

TIMEOUT_S = 10.0  # of one request
FAILED_MAX = 20  # then all leave: the shop is broken, or gone
WORDS = ("red", "copper", "walnut", "lamp", "kettle", "desk", "garden", "kitchen")
CATEGORIES = ("home", "office", "garden", "kitchen")
PRODUCT_IDS = range(1, 241)
CUSTOMER_IDS = range(1, 701)
QUANTITIES = range(1, 4)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request to send."""

    method: str
    path: str
    query: dict[str, str]
    body: Any = None


@dataclass(slots=True)
class Score:
    """What came of the visits so far."""

    requests: int = 0
    failed: int = 0


def main() -> int:
    """Visit the shop, print one line, give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.shop.client", description=__doc__)
    parser.add_argument("url", help="as the shop printed it")
    parser.add_argument("--seconds", type=float, default=15.0, help="%(default)s")
    parser.add_argument("--concurrency", type=int, default=6, help="%(default)s")
    parser.add_argument("--requests", type=int, default=20_000, help="at most (%(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="for the same visits each time")
    options = parser.parse_args()
    start_s = time.monotonic()
    score = asyncio.run(
        _run(options.url, options.seconds, options.concurrency, options.requests, options.seed)
    )
    taken_s = time.monotonic() - start_s
    print(f"{score.requests} requests, {score.failed} failed, in {taken_s:.1f} s", flush=True)
    return 1 if score.failed or not score.requests else 0


async def _run(
    url: str, seconds: float, concurrency: int, requests_max: int, seed: int | None
) -> Score:
    score = Score()
    visits = _rotation(random.Random(seed))  # noqa: S311 -- load to be repeated, not a secret
    end_s = time.monotonic() + seconds

    async def be_customer(session: httpx.AsyncClient) -> None:
        while time.monotonic() < end_s and score.requests < requests_max:
            if score.failed >= FAILED_MAX:
                return
            score.requests += 1
            if not await _succeeds(session, next(visits)):
                score.failed += 1

    # To loopback only, whatever proxy the machine has.
    client = httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, trust_env=False)
    async with client as session:
        if await _succeeds(session, Visit("GET", "/healthz", {})):
            await asyncio.gather(*(be_customer(session) for _ in range(concurrency)))
        else:
            score = Score(requests=1, failed=1)
    return score


async def _succeeds(session: httpx.AsyncClient, visit: Visit) -> bool:
    try:
        response = await session.request(
            visit.method, visit.path, params=visit.query, json=visit.body
        )
    except httpx.HTTPError as error:
        print(f"{visit.method} {visit.path}: {error!r}", file=sys.stderr)
        return False
    if response.status_code != HTTPStatus.OK:
        print(f"{visit.method} {visit.path}: status {response.status_code}", file=sys.stderr)
        return False
    return True


def _rotation(rng: random.Random) -> Iterator[Visit]:
    makers: list[Callable[[], Visit]] = [
        lambda: Visit("GET", "/products", {"category": rng.choice(CATEGORIES)}),
        lambda: Visit("GET", "/search", {"q": " ".join(rng.sample(WORDS, 3))}),
        lambda: Visit("GET", "/quote", {"product": str(rng.choice(PRODUCT_IDS))}),
        lambda: Visit("POST", "/checkout", {}, _order(rng)),
        lambda: Visit("GET", "/report", {}),
    ]
    while True:
        rng.shuffle(makers)
        for make in makers:
            yield make()


def _order(rng: random.Random) -> dict[str, int]:
    return {
        "customer": rng.choice(CUSTOMER_IDS),
        "product": rng.choice(PRODUCT_IDS),
        "quantity": rng.choice(QUANTITIES),
    }


if __name__ == "__main__":
    sys.exit(main())
