"""What the shop does, apart from HTTP: the functions that a profile of it should name.

Those that take the database run in the thread pool, the others on the event loop. Loops over
`rounds` and `slow_queries` and the locks of `contended_lock` do nothing, unless a test has planted
slowness there.
"""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from examples.shop.database import Customer, Database, Product
from examples.shop.slowness import contended_lock, rounds, slow_queries

MARGIN_PERCENT = 12
MAX_QUANTITY = 5
RESTOCK = 40


@dataclass(frozen=True, slots=True)
class Order:
    """What a customer wants."""

    customer_id: int
    product_id: int
    quantity: int


def select_products(database: Database, category: str) -> list[Product]:
    for _ in rounds("select_products"):
        pass
    for statement in slow_queries("/products"):
        database.rows(statement)
    with contended_lock("/products"):
        rows = database.rows(
            "SELECT id, name, category, price_cents FROM products WHERE ? IN ('', category)",
            category,
        )
    return [Product(*row) for row in rows]


def render_products(products: Sequence[Product]) -> list[dict[str, object]]:
    for _ in rounds("render_products"):
        pass
    return [{"id": p.id, "name": p.name, "price": f"{p.price_cents / 100:.2f}"} for p in products]


def split_query(query: str) -> list[str]:
    for _ in rounds("split_query"):
        pass
    return query.casefold().split()


def score_products(
    products: Sequence[Product], words: Sequence[str]
) -> list[tuple[float, Product]]:
    """Give the products that have anything of `words`, best first."""
    for _ in rounds("score_products"):
        pass
    hits = []
    for product in products:
        score = 0.0
        for word in words:
            if word in product.name:
                score += len(word) / len(product.name)
            elif word == product.category:
                score += 0.1
        if score:
            hits.append((score, product))
    hits.sort(key=lambda hit: hit[0], reverse=True)
    return hits


def log_search(database: Database, query: str, hits: int) -> None:
    for _ in rounds("log_search"):
        pass
    for statement in slow_queries("/search"):
        database.rows(statement)
    with contended_lock("/search"):
        database.write("INSERT INTO searches (query, hits) VALUES (?, ?)", query, hits)


async def ask_supplier(supplier: httpx.AsyncClient, product_id: int) -> int:
    """Ask what a product costs the shop at this moment, in cents."""
    for _ in rounds("ask_supplier"):
        pass
    answer = await supplier.get("/price", params={"product": product_id})
    cost_cents: int = answer.raise_for_status().json()["cost_cents"]
    return cost_cents


def add_margin(cost_cents: int) -> int:
    for _ in rounds("add_margin"):
        pass
    return cost_cents * (100 + MARGIN_PERCENT) // 100


def save_quote(database: Database, product_id: int, price_cents: int) -> None:
    for _ in rounds("save_quote"):
        pass
    for statement in slow_queries("/quote"):
        database.rows(statement)
    with contended_lock("/quote"):
        database.write(
            "INSERT INTO quotes (product_id, price_cents) VALUES (?, ?)", product_id, price_cents
        )


def check_order(body: bytes, products: Sequence[Product]) -> Order:
    """Read an order; ValueError if it is none, or cannot be delivered."""
    for _ in rounds("check_order"):
        pass
    try:
        fields = json.loads(body)
        order = Order(fields["customer"], fields["product"], fields["quantity"])
        is_possible = order.product_id in range(1, len(products) + 1)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not an order: {error!r}") from error
    if not is_possible or order.quantity not in range(1, MAX_QUANTITY + 1):
        raise ValueError(f"cannot be delivered: {order}")
    return order


def place_order(database: Database, stock_lock: threading.Lock, order: Order) -> int:
    """Take an order out of the stock and write it down. Gives what is left."""
    left = reserve_stock(database, stock_lock, order)
    write_order(database, order)
    return left


def reserve_stock(database: Database, stock_lock: threading.Lock, order: Order) -> int:
    """Take what was ordered out of the stock; an empty shelf is filled again."""
    for _ in rounds("reserve_stock"):
        pass
    for statement in slow_queries("/checkout"):
        database.rows(statement)
    # The stock must not change between reading and writing it.
    with contended_lock("/checkout"), stock_lock:
        [(stock,)] = database.rows("SELECT stock FROM products WHERE id = ?", order.product_id)
        left: int = stock - order.quantity
        if left < 0:
            left += RESTOCK
        database.write("UPDATE products SET stock = ? WHERE id = ?", left, order.product_id)
    return left


def write_order(database: Database, order: Order) -> None:
    for _ in rounds("write_order"):
        pass
    database.write(
        "INSERT INTO orders (customer_id, product_id, quantity) VALUES (?, ?, ?)",
        order.customer_id,
        order.product_id,
        order.quantity,
    )


def select_customers(database: Database, limit: int) -> list[Customer]:
    for _ in rounds("select_customers"):
        pass
    for statement in slow_queries("/report"):
        database.rows(statement)
    with contended_lock("/report"):
        rows = database.rows(
            "SELECT id, name, spent_cents, orders, returns FROM customers LIMIT ?", limit
        )
    return [Customer(*row) for row in rows]


def rank_customers(customers: Sequence[Customer]) -> list[tuple[int, Customer]]:
    """Give each customer's rank, by value to the shop.

    Slow by accident, and the demo's known answer: O(n^2), where a sort is O(n log n).
    """
    for _ in rounds("rank_customers"):
        pass
    ranked = []
    for customer in customers:
        value = customer.spent_cents + 900 * customer.orders - 2500 * customer.returns
        rank = 1
        for other in customers:
            if other.spent_cents + 900 * other.orders - 2500 * other.returns > value:
                rank += 1
        ranked.append((rank, customer))
    return ranked


def summarize_ranking(ranked: Sequence[tuple[int, Customer]]) -> dict[str, object]:
    for _ in rounds("summarize_ranking"):
        pass
    best = sorted(ranked, key=lambda entry: entry[0])[:10]
    names = [f"{rank}. {customer.name}" for rank, customer in best]
    return {"customers": len(ranked), "best": names}
