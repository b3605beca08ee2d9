"""Slowness on demand: ``SHOP_SLOW=ENDPOINT:KIND[:FUNCTION]`` plants it, tests then look for it.

Kinds, each at one endpoint only:
    cpu: FUNCTION burns CPU_S seconds of its thread's CPU time, in its own frame: the iterators that
        `rounds` gives are all of C, so a profile shows the time under FUNCTION, not in this file.
    lock: the endpoint's job in the thread pool waits LOCK_S seconds for a lock of another thread.
    sleep: the request is suspended for SLEEP_S seconds, before its handler.
"""

import asyncio
import threading
import time
from collections.abc import Iterable, Mapping
from itertools import chain, repeat, takewhile

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

CPU_S = 0.080
LOCK_S = 0.120
SLEEP_S = 0.120

KINDS = ("cpu", "lock", "sleep")

# endpoint -> functions of `business` where `cpu` can be planted; a name belongs to one endpoint
PLANTABLE_FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    "/products": ("select_products", "render_products"),
    "/search": ("split_query", "score_products", "log_search"),
    "/quote": ("ask_supplier", "add_margin", "save_quote"),
    "/checkout": ("check_order", "reserve_stock", "write_order"),
    "/report": ("select_customers", "rank_customers", "summarize_ranking"),
}

_ROUNDS_PER_LOOK = 1000  # at the clock: a system call that must not dominate what is burnt

_cpu_s: dict[str, float] = {}
_lock_s: dict[str, float] = {}
_sleep_s: dict[str, float] = {}


def plant(value: str) -> None:
    """Plant what `value` asks for, instead of anything planted before; "" plants nothing.

    Call it before the application is made. Raises ValueError, naming `value`, if it is malformed.
    """
    for planted in (_cpu_s, _lock_s, _sleep_s):
        planted.clear()
    if not value:
        return
    endpoint, kind, function = _parse(value)
    match kind:
        case "cpu":
            _cpu_s[function] = CPU_S
        case "lock":
            _lock_s[endpoint] = LOCK_S
        case _:
            _sleep_s[endpoint] = SLEEP_S


def is_planted() -> bool:
    """Whether the shop is slow on demand; it then leaves out the slowness of its own."""
    return bool(_cpu_s or _lock_s or _sleep_s)


def rounds(function: str) -> Iterable[object]:
    """Give the rounds that `function` must loop, in its own frame and thread; normally none."""
    if function not in _cpu_s:
        return ()
    end_s = time.thread_time() + _cpu_s[function]
    looks = takewhile(end_s.__gt__, iter(time.thread_time, None))
    return chain.from_iterable(map(repeat, looks, repeat(_ROUNDS_PER_LOOK)))


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


def _hold(lock: threading.Lock, is_held: threading.Event, for_s: float) -> None:
    with lock:
        is_held.set()
        time.sleep(for_s)
