"""One SQLite transaction as a block.

Responsibility: begin, then commit or roll back.
Guarantees: the block's statements all count or none does; the connection is outside a transaction afterwards.
Not responsible for: what an error means: the adapter's edge translates it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["transaction"]


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None, None, None]:
    """Run the block in one write transaction of an autocommit connection."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has already rolled back after some errors, a full disk among them.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
