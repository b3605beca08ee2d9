"""The shop's web service: five endpoints that do believable work, and a health check.

``/report`` is slow for a known reason, `rank_customers`, and blocks the event loop meanwhile.
"""

import asyncio
import contextvars
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from aiohttp import web

from examples.shop import business, slowness
from examples.shop.database import CUSTOMERS, Database, Product

POOL_THREADS = 8  # more than the client's usual concurrency, so that jobs do not wait for a thread
FEW_CUSTOMERS = 50  # so few that ranking them is quick

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


@dataclass(frozen=True, slots=True)
class Shop:
    """What the handlers share."""

    database: Database
    pool: ThreadPoolExecutor
    products: tuple[Product, ...]
    stock_lock: threading.Lock


SHOP = web.AppKey("SHOP", Shop)


def create_app() -> web.Application:
    """Make the service; its database and threads live from start-up to clean-up."""
    app = web.Application(middlewares=slowness.middlewares())
    app.cleanup_ctx.append(_open_shop)
    app.router.add_get("/products", get_products)
    app.router.add_get("/search", get_search)
    app.router.add_get("/quote", get_quote)
    app.router.add_post("/checkout", post_checkout)
    app.router.add_get("/report", get_report)
    app.router.add_get("/healthz", get_healthz)
    return app


async def _open_shop(app: web.Application) -> AsyncIterator[None]:
    with (
        tempfile.TemporaryDirectory(prefix="shop-") as folder,
        closing(Database(Path(folder, "shop.sqlite3"))) as database,
        ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="shop-pool") as pool,
    ):
        products = tuple(database.products())
        app[SHOP] = Shop(database, pool, products, threading.Lock())
        yield


async def _in_pool(shop: Shop, job: Callable[[Database, *_Ts], _T], *arguments: *_Ts) -> _T:
    """Run `job` in one of the shop's threads, with the caller's context.

    asyncio.to_thread carries the context over in the same way; without it, the job's spans would
    not belong to the request.
    """
    call = partial(contextvars.copy_context().run, job, shop.database, *arguments)
    return await asyncio.get_running_loop().run_in_executor(shop.pool, call)


async def get_products(request: web.Request) -> web.Response:
    """List what is for sale, of one category if the query names it."""
    category = request.query.get("category", "")
    products = await _in_pool(request.app[SHOP], business.select_products, category)
    return web.json_response(business.render_products(products))


async def get_search(request: web.Request) -> web.Response:
    """Find the ten products that fit the query best."""
    shop = request.app[SHOP]
    words = business.split_query(request.query.get("q", ""))
    hits = business.score_products(shop.products, words)
    await _in_pool(shop, business.log_search, " ".join(words), len(hits))
    return web.json_response([{"score": score, "name": p.name} for score, p in hits[:10]])


async def get_quote(request: web.Request) -> web.Response:
    """Price one product by what the supplier wants for it at this moment."""
    shop = request.app[SHOP]
    try:
        product = shop.products[int(request.query.get("product", "1")) - 1]
    except (ValueError, IndexError) as error:
        raise web.HTTPNotFound(text=f"no such product: {error}") from error
    price_cents = business.add_margin(await business.ask_supplier(product))
    await _in_pool(shop, business.save_quote, product.id, price_cents)
    return web.json_response({"product": product.id, "price_cents": price_cents})


async def post_checkout(request: web.Request) -> web.Response:
    """Sell something."""
    shop = request.app[SHOP]
    try:
        order = business.check_order(await request.text(), shop.products)
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    left = await _in_pool(shop, business.place_order, shop.stock_lock, order)
    return web.json_response({"sold": order.quantity, "left": left})


async def get_report(request: web.Request) -> web.Response:
    """Tell who the best customers are."""
    limit = FEW_CUSTOMERS if slowness.is_planted() else CUSTOMERS
    customers = await _in_pool(request.app[SHOP], business.select_customers, limit)
    ranked = business.rank_customers(customers)  # the mistake: on the event loop
    return web.json_response(business.summarize_ranking(ranked))


async def get_healthz(_request: web.Request) -> web.Response:
    """Say that the service is up."""
    return web.json_response({"status": "ok"})
