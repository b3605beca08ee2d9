"""The shop's web service: five endpoints that do believable work, and a health check.

``/report`` is slow for a known reason, `rank_customers`, and blocks the event loop meanwhile. What takes the
database runs in FastAPI's threads, as all of ``/products`` does, which is no coroutine; the rest on the event loop.
"""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import httpx
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from examples.shop import business, slowness
from examples.shop.database import CUSTOMERS, Database, Product
from examples.shop.supplier import running_supplier

FEW_CUSTOMERS = 50  # so few that ranking them is quick
SUPPLIER_TIMEOUT_S = 10.0

Json = dict[str, Any] | list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Shop:
    """What the handlers share."""

    database: Database
    products: tuple[Product, ...]
    stock_lock: Lock
    supplier: httpx.AsyncClient


def create_app() -> FastAPI:
    """Make the service; its database, its supplier and the connections to both live from start-up to shutdown."""
    app = FastAPI(lifespan=_open_shop, dependencies=slowness.dependencies())
    app.get("/products")(get_products)
    app.get("/search")(get_search)
    app.get("/quote")(get_quote)
    app.post("/checkout")(post_checkout)
    app.get("/report")(get_report)
    app.get("/healthz")(get_healthz)
    return app


@asynccontextmanager
async def _open_shop(app: FastAPI) -> AsyncIterator[None]:
    with (
        tempfile.TemporaryDirectory(prefix="shop-") as folder,
        closing(Database(Path(folder, "shop.sqlite3"))) as database,
        running_supplier(slowness.supplier_s()) as url,
    ):
        # To loopback only, whatever proxy the machine has.
        client = httpx.AsyncClient(base_url=url, timeout=SUPPLIER_TIMEOUT_S, trust_env=False)
        async with client as supplier:
            app.state.shop = Shop(database, tuple(database.products()), Lock(), supplier)
            yield


def _shop(request: Request) -> Shop:
    shop: Shop = request.app.state.shop
    return shop


def get_products(request: Request, category: str = "") -> Json:
    """List what is for sale, of one category if the query names it."""
    return business.render_products(business.select_products(_shop(request).database, category))


async def get_search(request: Request, q: str = "") -> Json:
    """Find the ten products that fit the query best."""
    shop = _shop(request)
    words = business.split_query(q)
    hits = business.score_products(shop.products, words)
    await run_in_threadpool(business.log_search, shop.database, " ".join(words), len(hits))
    return [{"score": score, "name": product.name} for score, product in hits[:10]]


async def get_quote(request: Request, product: int = 1) -> Json:
    """Price one product by what the supplier wants for it at this moment."""
    shop = _shop(request)
    if not 1 <= product <= len(shop.products):
        raise HTTPException(404, f"no such product: {product}")
    price_cents = business.add_margin(await business.ask_supplier(shop.supplier, product))
    await run_in_threadpool(business.save_quote, shop.database, product, price_cents)
    return {"product": product, "price_cents": price_cents}


async def post_checkout(request: Request) -> Json:
    """Sell something."""
    shop = _shop(request)
    try:
        order = business.check_order(await request.body(), shop.products)
    except ValueError as error:
        raise HTTPException(400, str(error)) from error
    left = await run_in_threadpool(business.place_order, shop.database, shop.stock_lock, order)
    return {"sold": order.quantity, "left": left}


async def get_report(request: Request) -> Json:
    """Tell who the best customers are."""
    limit = FEW_CUSTOMERS if slowness.is_planted() else CUSTOMERS
    database = _shop(request).database
    customers = await run_in_threadpool(business.select_customers, database, limit)
    ranked = business.rank_customers(customers)  # the mistake: on the event loop
    return business.summarize_ranking(ranked)


async def get_healthz() -> Json:
    """Say that the service is up."""
    return {"status": "ok"}
