"""Slowness on demand: ``SHOP_SLOW=ENDPOINT:KIND[:FUNCTION]`` plants it, tests then look for it.

Kinds, each at one endpoint only:
    cpu: FUNCTION burns CPU_S seconds of CPU, in its own frame: `rounds` gives a plain `range`, so a
        profile shows the time under FUNCTION and not under anything in this file.
    lock: the endpoint's job in the thread pool waits LOCK_S seconds for a lock of another thread.
    sleep: the request is suspended for SLEEP_S seconds, before its handler.
"""

import asyncio
import threading
import time
from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

CPU_S = 0.080
LOCK_S = 0.120
SLEEP_S = 0.120

KINDS = ("cpu", "lock", "sleep")

# endpoint -> functions of `service` where `cpu` can be planted; a name belongs to one endpoint
PLANTABLE_FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    "/products": ("select_products", "render_products"),
    "/search": ("split_query", "score_products", "log_search"),
    "/quote": ("ask_supplier", "add_margin", "save_quote"),
    "/checkout": ("check_order", "reserve_stock", "write_order"),
    "/report": ("select_customers", "rank_customers", "summarize_ranking"),
}

_rounds: dict[str, int] = {}
_lock_s: dict[str, float] = {}
_sleep_s: dict[str, float] = {}


def plant(value: str) -> None:
    """Plant what `value` asks for, instead of anything planted before; "" plants nothing.

    Call it before the application is made. Raises ValueError, naming `value`, if it is malformed.
    """
    for planted in (_rounds, _lock_s, _sleep_s):
        planted.clear()
    if not value:
        return
    endpoint, kind, function = _parse(value)
    match kind:
        case "cpu":
            _rounds[function] = _rounds_lasting(CPU_S)
        case "lock":
            _lock_s[endpoint] = LOCK_S
        case _:
            _sleep_s[endpoint] = SLEEP_S


def is_planted() -> bool:
    """Whether the shop is slow on demand; it then leaves out the slowness of its own."""
    return bool(_rounds or _lock_s or _sleep_s)


def rounds(function: str) -> range:
    """Give the rounds that `function` must loop, in its own frame; normally none."""
    return range(_rounds.get(function, 0))


def contended_lock(endpoint: str) -> threading.Lock:
    """Give a lock to take in the endpoint's thread-pool job; normally free, if planted held by another.

    A new lock each time: requests that wait at once must not add up their waits.
    """
    lock = threading.Lock()
    if endpoint in _lock_s:
        is_held = threading.Event()
        holder = (lock, is_held, _lock_s[endpoint])
        threading.Thread(target=_hold, args=holder, name="shop-lock-holder", daemon=True).start()
        is_held.wait()
    return lock


def middlewares() -> list[Middleware]:
    """Give the middleware that suspends requests, if that is planted."""
    return [pause] if _sleep_s else []


@web.middleware
async def pause(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Suspend the requests of the planted endpoint."""
    if request.path in _sleep_s:
        await asyncio.sleep(_sleep_s[request.path])
    return await handler(request)


def _parse(value: str) -> tuple[str, str, str]:
    endpoint, _, rest = value.partition(":")
    kind, _, function = rest.partition(":")
    if endpoint not in PLANTABLE_FUNCTIONS:
        raise ValueError(_complaint(value, "endpoint", endpoint, tuple(PLANTABLE_FUNCTIONS)))
    if kind not in KINDS:
        raise ValueError(_complaint(value, "kind", kind, KINDS))
    allowed = PLANTABLE_FUNCTIONS[endpoint] if kind == "cpu" else ("",)
    if function not in allowed:
        raise ValueError(_complaint(value, f"function for {endpoint}:{kind}", function, allowed))
    return endpoint, kind, function


def _complaint(value: str, part: str, given: str, allowed: tuple[str, ...]) -> str:
    known = ", ".join(name or "none" for name in allowed)
    return f"SHOP_SLOW={value!r}: {part} is {given!r}, not one of: {known}"


def _rounds_lasting(cpu_s: float) -> int:
    """Measure how many rounds of an empty loop last `cpu_s` seconds of CPU on this machine, now."""
    rounds_timed = 500_000
    fastest_s = min(_timed(rounds_timed) for _ in range(5))
    return int(rounds_timed * cpu_s / fastest_s)


def _timed(count: int) -> float:
    start_s = time.thread_time()
    for _ in range(count):
        pass
    return time.thread_time() - start_s


def _hold(lock: threading.Lock, is_held: threading.Event, for_s: float) -> None:
    with lock:
        is_held.set()
        time.sleep(for_s)
