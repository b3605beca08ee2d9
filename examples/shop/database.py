"""The shop's SQLite file: a connection for each thread that asks, filled at start-up.

Statements go through cursors, because only those are seen by OpenTelemetry's instrumentation.
"""

import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PRODUCTS = 240
CUSTOMERS = 700

_SCHEMA = """
CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, category TEXT,
                       price_cents INTEGER, stock INTEGER);
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, spent_cents INTEGER,
                        orders INTEGER, returns INTEGER);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER, product_id INTEGER,
                     quantity INTEGER);
CREATE TABLE searches (id INTEGER PRIMARY KEY, query TEXT, hits INTEGER);
CREATE TABLE quotes (id INTEGER PRIMARY KEY, product_id INTEGER, price_cents INTEGER);
"""
_COLOURS = ("red", "green", "blue", "black", "white", "copper", "walnut", "linen")
_THINGS = ("lamp", "chair", "kettle", "desk", "clock", "shelf")
CATEGORIES = ("home", "office", "garden", "kitchen")


@dataclass(frozen=True, slots=True)
class Product:
    """What is for sale."""

    id: int
    name: str
    category: str
    price_cents: int


@dataclass(frozen=True, slots=True)
class Customer:
    """What a customer has done so far."""

    id: int
    name: str
    spent_cents: int
    orders: int
    returns: int


class Database:
    """One SQLite file. `rows` and `write` may be called from any thread, `close` when all are done."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        self._fill()

    def rows(self, statement: str, *parameters: object) -> list[Any]:
        """Give all rows of a SELECT."""
        with closing(self._connection().cursor()) as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall()

    def write(self, statement: str, *parameters: object) -> None:
        """Run one statement as a transaction of its own."""
        with closing(self._connection().cursor()) as cursor:
            cursor.execute(statement, parameters)

    def products(self) -> list[Product]:
        """Give the catalogue, as it is at the start."""
        return [
            Product(*row)
            for row in self._connection().execute(
                "SELECT id, name, category, price_cents FROM products"
            )
        ]

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            while self._connections:
                self._connections.pop().close()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            # Used by this thread only; close() alone comes from another one, after the last use.
            connection = sqlite3.connect(
                self._path, isolation_level=None, timeout=10, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")  # the file does not outlive the process
            with self._lock:
                self._connections.append(connection)
            self._local.connection = connection
        return connection

    def _fill(self) -> None:
        # Not through cursors: a span for each of these would only be noise. No random numbers: the
        # same rows every time.
        connection = self._connection()
        connection.executescript(_SCHEMA)
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO products VALUES (?, ?, ?, ?, ?)",
            [
                (
                    i + 1,
                    f"{_COLOURS[i % 8]} {_THINGS[i // 8 % 6]} no {i // 48 + 1}",
                    CATEGORIES[i % 4],
                    500 + i * 7919 % 20_000,
                    40,
                )
                for i in range(PRODUCTS)
            ],
        )
        connection.executemany(
            "INSERT INTO customers VALUES (?, ?, ?, ?, ?)",
            [
                (i + 1, f"customer {i + 1}", i * 104_729 % 500_009, i * 31 % 57, i * 17 % 5)
                for i in range(CUSTOMERS)
            ],
        )
        connection.execute("COMMIT")
