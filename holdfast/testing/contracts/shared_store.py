"""What every store that processes share must hold.

Responsibility: the contract of `holdfast.ports.shared_store.SharedStore`, as a pytest class to derive from.
Guarantees: a store that passes has one epoch for all who ask, and another one once it has lost what it held.
Not responsible for: what is kept there: each kind has a contract of its own; a store that is away: that needs the real
    thing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager

import anyio
import pytest

from holdfast.ports.shared_store import SharedStore
from holdfast.testing.cancellation import sweep_cancellation

__all__ = ["SharedStoreContract"]


class SharedStoreContract(ABC):
    """Derive from it, name the class ``Test…`` and open your store; pytest does the rest."""

    pytestmark = pytest.mark.anyio

    @abstractmethod
    def open_store(self) -> AbstractAsyncContextManager[SharedStore]:
        """Return one process' side of this test's store, open for the length of an ``async with`` block.

        Called again within a test, it is another process' side of the same store.
        """

    @abstractmethod
    async def lose_everything(self) -> None:
        """Let the store lose what it holds, as if it were restarted empty."""

    async def test_name_is_short_and_holds_no_address(self) -> None:
        """It stands in events and errors."""
        async with self.open_store() as store:
            assert store.name
            assert not set(store.name) & set("/@: ")

    async def test_epoch_asked_for_again_is_the_same(self) -> None:
        """However often."""
        async with self.open_store() as store:
            assert await store.epoch() == await store.epoch() != ""

    async def test_epoch_asked_for_by_many_at_once_is_one(self) -> None:
        """Also the very first time, and from several sides."""
        async with self.open_store() as one, self.open_store() as other:
            epochs: set[str] = set()

            async def ask(store: SharedStore) -> None:
                epochs.add(await store.epoch())

            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(ask, one)
                    tasks.start_soon(ask, other)

            assert len(epochs) == 1

    async def test_epoch_of_a_store_that_lost_everything_is_another_one(self) -> None:
        """Each time."""
        async with self.open_store() as store:
            epochs: list[str] = []
            for _ in range(3):
                epochs.append(await store.epoch())
                await self.lose_everything()

            assert len(set(epochs)) == 3

    async def test_cancellation_at_any_moment_leaves_one_epoch(self) -> None:
        """Whoever asked first and was cut off gave it, or did not."""
        async with self.open_store() as store:

            async def scenario() -> None:
                await store.epoch()

            async def check() -> None:
                assert await store.epoch() == await store.epoch()
                await self.lose_everything()

            await sweep_cancellation(scenario, check)
