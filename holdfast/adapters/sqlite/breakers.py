"""Circuit breakers of the processes of one machine, in an SQLite file.

Responsibility: `BreakerStore` over SQLite: one row for each breaker.
Guarantees: those of the port.
Not responsible for: the rules: see `holdfast.ports.breaker_record`; the file and its time: see
    `holdfast.adapters.sqlite.shared_store`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import astuple, fields
from typing import Final

from holdfast.adapters.sqlite.shared_store import SqliteStore
from holdfast.ports.breaker_record import BreakerRecord
from holdfast.ports.breaker_store import BreakerStore, BreakerView, Opening, ProbeResult, ProbeTerms

__all__ = ["SqliteBreakers"]

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS breakers (
    name TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    open_until_us INTEGER,
    closed_at_us INTEGER,
    earlier INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    probe TEXT,
    probe_until_us INTEGER NOT NULL,
    reopening_us INTEGER NOT NULL,
    reopening_earlier INTEGER NOT NULL
)
"""

_COLUMNS: Final = tuple(field.name for field in fields(BreakerRecord))
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM breakers WHERE name = ?"  # noqa: S608 - names of the record alone
_PLACES: Final = ", ".join("?" * (len(_COLUMNS) + 1))
_REPLACE: Final = f"REPLACE INTO breakers (name, {', '.join(_COLUMNS)}) VALUES ({_PLACES})"  # noqa: S608 - as above

# Numbers are begun at the time, so that they also tell how long ago the latest change was.
_FORGET: Final = "DELETE FROM breakers WHERE max(number, coalesce(open_until_us, 0), probe_until_us) < ?"
_FORGET_US: Final = 24 * 3600 * 1_000_000


class SqliteBreakers:
    """Keeps breakers in a `SqliteStore`; make it before that is asked anything."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        store.add_schema(_TABLE)

    async def look(self, name: str) -> BreakerView:
        """Return what is known; see `BreakerStore.look`."""
        return await self._change(name, lambda record, _: record)

    async def open(self, name: str, opening: Opening) -> BreakerView:
        """Open it from now on; see `BreakerStore.open`."""
        return await self._change(name, lambda record, now_us: record.opened(now_us, opening))

    async def claim(self, name: str, probe: str, terms: ProbeTerms) -> BreakerView:
        """Claim the one probe; see `BreakerStore.claim`."""
        return await self._change(name, lambda record, now_us: record.claimed(now_us, probe, terms))

    async def settle(self, name: str, probe: str, result: ProbeResult, terms: ProbeTerms) -> BreakerView:
        """Say how a probe ended; see `BreakerStore.settle`."""
        return await self._change(name, lambda record, now_us: record.settled(now_us, probe, result, terms))

    async def _change(self, name: str, rule: Callable[[BreakerRecord, int], BreakerRecord]) -> BreakerView:
        def change(connection: sqlite3.Connection, now_us: int) -> BreakerView:
            row = connection.execute(_SELECT, (name,)).fetchone()
            found = BreakerRecord() if row is None else BreakerRecord(**dict(zip(_COLUMNS, row, strict=True)))
            record = rule(found, now_us)
            if record != found:
                connection.execute(_FORGET, (now_us - _FORGET_US,))
                connection.execute(_REPLACE, (name, *astuple(record)))
            return record.view(now_us)

        return await self._store.run(change)


_: type[BreakerStore] = SqliteBreakers
