"""What holds for the file of any database here.

Responsibility: tell whose it is, and turn its write-ahead log on.
Guarantees: both are right also while other processes make or open the same file.
Not responsible for: what an error means: the adapter's edge translates it.
Sources: https://sqlite.org/pragma.html#pragma_application_id, https://sqlite.org/wal.html.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Final

__all__ = ["begin_wal", "is_foreign"]

# In one statement, which sees one moment: whoever makes the file says whose it is together with its tables.
_SIGNS: Final = """
    SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)
    FROM pragma_application_id, pragma_user_version
"""


def is_foreign(connection: sqlite3.Connection, application_id: int) -> bool:
    """Return whether the database is something else's: neither of this id nor empty."""
    owner, version, objects = connection.execute(_SIGNS).fetchone()
    return owner != application_id and bool(owner or version or objects)


def begin_wal(connection: sqlite3.Connection, *, patience_s: float) -> None:
    """Turn the write-ahead log on, which stays on for every process.

    Args:
        connection: outside of a transaction.
        patience_s: seconds that one waits for others.
    """
    # SQLite gives up at once when two processes do this at the same moment; of 600 openings, four at a time, 2 did.
    give_up_s = time.monotonic() + patience_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_s:
                raise
            time.sleep(0.01)
        else:
            return
