"""Slowness on demand: ``SHOP_SLOW=ENDPOINT:KIND[:FUNCTION]`` plants it, tests then look for it.

Kinds, each at one endpoint only:
    cpu: FUNCTION burns CPU_S seconds of its thread's CPU time, in its own frame: the iterators that
        `rounds` gives are all of C, so a profile shows the time under FUNCTION, not in this file.
    lock: the endpoint's job in the thread pool waits LOCK_S seconds for a lock of another thread.
    sql: the same job runs SLOW_QUERY before its own.
    sleep: the request is suspended for SLEEP_S seconds, before its handler.
    http: the supplier takes SLOW_SUPPLIER_S seconds for an answer; only ``/quote`` asks it.
"""

import asyncio
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, repeat, takewhile

from fastapi import Depends, Request
from fastapi.params import Depends as Dependency

CPU_S = 0.080
LOCK_S = 0.120
SLEEP_S = 0.120
SUPPLIER_S = 0.020
SLOW_SUPPLIER_S = 0.140
# A join that nobody has restricted looks at seven million rows, some 20 ns each.
SLOW_QUERY = "SELECT count(*) FROM products AS a, products AS b, products AS c WHERE a.id <= 120"

# endpoint -> functions of `business` where `cpu` can be planted; a name belongs to one endpoint
PLANTABLE_FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    "/products": ("select_products", "render_products"),
    "/search": ("split_query", "score_products", "log_search"),
    "/quote": ("ask_supplier", "add_margin", "save_quote"),
    "/checkout": ("check_order", "reserve_stock", "write_order"),
    "/report": ("select_customers", "rank_customers", "summarize_ranking"),
}
_ALL = tuple(PLANTABLE_FUNCTIONS)
# kind -> endpoints where it can be planted
PLANTABLE_ENDPOINTS: Mapping[str, tuple[str, ...]] = {
    "cpu": _ALL,
    "lock": _ALL,
    "sql": _ALL,
    "sleep": _ALL,
    "http": ("/quote",),
}

_ROUNDS_PER_LOOK = 1000  # at the clock: a system call that must not dominate what is burnt

# kind -> the endpoint where it is planted, for `cpu` the function
_planted: dict[str, str] = {}


def plant(value: str) -> None:
    """Plant what `value` asks for, instead of anything planted before; "" plants nothing.

    Call it before the application is made. Raises ValueError, naming `value`, if it is malformed.
    """
    _planted.clear()
    if value:
        endpoint, kind, function = _parse(value)
        _planted[kind] = function or endpoint


def is_planted() -> bool:
    """Whether the shop is slow on demand; it then leaves out the slowness of its own."""
    return bool(_planted)


def rounds(function: str) -> Iterable[object]:
    """Give the rounds that `function` must loop, in its own frame and thread; normally none."""
    if _planted.get("cpu") != function:
        return ()
    end_s = time.thread_time() + CPU_S
    looks = takewhile(end_s.__gt__, iter(time.thread_time, None))
    return chain.from_iterable(map(repeat, looks, repeat(_ROUNDS_PER_LOOK)))


def contended_lock(endpoint: str) -> threading.Lock:
    """Give a lock to take in the endpoint's thread-pool job; normally free, if planted held by another.

    A new lock each time: requests that wait at once must not add up their waits.
    """
    lock = threading.Lock()
    if _planted.get("lock") == endpoint:
        is_held = threading.Event()
        holder = (lock, is_held)
        threading.Thread(target=_hold, args=holder, name="shop-lock-holder", daemon=True).start()
        is_held.wait()
    return lock


def slow_queries(endpoint: str) -> Sequence[str]:
    """Give the statements to run in the endpoint's thread-pool job for no purpose; normally none."""
    return (SLOW_QUERY,) if _planted.get("sql") == endpoint else ()


def supplier_s() -> float:
    """How long the supplier takes for an answer."""
    return SLOW_SUPPLIER_S if "http" in _planted else SUPPLIER_S


def dependencies() -> list[Dependency]:
    """Give what suspends requests, if that is planted."""
    return [Depends(pause)] if "sleep" in _planted else []


async def pause(request: Request) -> None:
    """Suspend the requests of the planted endpoint."""
    if request.url.path == _planted.get("sleep"):
        await asyncio.sleep(SLEEP_S)


def _parse(value: str) -> tuple[str, str, str]:
    endpoint, _, rest = value.partition(":")
    kind, _, function = rest.partition(":")
    if kind not in PLANTABLE_ENDPOINTS:
        raise ValueError(_complaint(value, "kind", kind, tuple(PLANTABLE_ENDPOINTS)))
    if endpoint not in PLANTABLE_ENDPOINTS[kind]:
        allowed = PLANTABLE_ENDPOINTS[kind]
        raise ValueError(_complaint(value, f"endpoint for {kind}", endpoint, allowed))
    allowed = PLANTABLE_FUNCTIONS[endpoint] if kind == "cpu" else ("",)
    if function not in allowed:
        raise ValueError(_complaint(value, f"function for {endpoint}:{kind}", function, allowed))
    return endpoint, kind, function


def _complaint(value: str, part: str, given: str, allowed: tuple[str, ...]) -> str:
    known = ", ".join(name or "none" for name in allowed)
    return f"SHOP_SLOW={value!r}: {part} is {given!r}, not one of: {known}"


def _hold(lock: threading.Lock, is_held: threading.Event) -> None:
    with lock:
        is_held.set()
        time.sleep(LOCK_S)
