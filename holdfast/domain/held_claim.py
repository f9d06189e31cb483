"""A claim of this process on a key that others want as well.

Responsibility: keep the lease while the call goes on, and then tell the store what came of it.
Guarantees: the store is told once, or given the key back, however the call ends; neither its answer nor its
    cancellation waits for that; a claim that somebody else has taken over is let go.
Not responsible for: what is told: see `holdfast.domain.shared_answers`.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import anyio

from holdfast.domain.shared_answer_tally import ClaimEnd, SharedAnswerTally
from holdfast.domain.store_link import AWAY, StoreLink
from holdfast.ports.answer_store import AnswerClaim, AnswerStore
from holdfast.ports.events import ClaimFenced, EventSink

__all__ = ["EXTENSIONS_PER_LEASE", "HeldClaim"]

EXTENSIONS_PER_LEASE: Final = 3
"""How often a lease is begun anew in its own time, so that two attempts may fail."""


class HeldClaim:
    """A claim that was won.

    Args:
        claim: what was asked for.
        token: what it was won with.
        store: who is told.
        link: whether it can be.
        timeout_s: seconds that it may take.
        tally: counts how it ended.
        events: told if somebody else has taken the key over.
    """

    def __init__(  # noqa: PLR0913 - one for each part
        self,
        claim: AnswerClaim,
        token: int,
        *,
        store: AnswerStore,
        link: StoreLink,
        timeout_s: float,
        tally: SharedAnswerTally,
        events: EventSink | None,
    ) -> None:
        self._claim = claim
        self._token = token
        self._store = store
        self._link = link
        self._timeout_s = timeout_s
        self._tally = tally
        self._events = events
        self._outcome: bytes | None = None
        self._keep_s = 0.0
        self._ended = anyio.Event()
        self._told = anyio.Event()
        self._is_fenced = False

    def end(self, outcome: bytes | None, *, keep_s: float) -> None:
        """Let `hold` tell the others how the call ended.

        Args:
            outcome: what came of it; None gives the key to the next one who waits.
            keep_s: seconds for which those are told it who ask later.
        """
        self._outcome = outcome
        self._keep_s = keep_s
        self._ended.set()

    async def hold(self) -> None:
        """Extend the lease until the call has ended, and then tell how.

        Cancellation: gives the key up if the call has not ended, and tells how it ended otherwise; within the timeout.
        """
        try:
            await self._extend()
        finally:
            if not self._is_fenced:
                with anyio.CancelScope(shield=True):
                    await self._tell()
            self._told.set()

    async def wait_told(self) -> None:
        """Wait until `hold` has ended."""
        await self._told.wait()

    async def _extend(self) -> None:
        lease_s = self._claim.lease_s
        extend = partial(self._store.extend, self._claim.key, token=self._token, lease_s=lease_s)
        while not self._ended.is_set() and not self._is_fenced:
            with anyio.move_on_after(lease_s / EXTENSIONS_PER_LEASE):
                await self._ended.wait()
            if not self._ended.is_set() and await self._link.ask(extend, timeout_s=self._timeout_s) is False:
                self._fence()

    async def _tell(self) -> None:
        key = self._claim.key
        if self._outcome is None:
            release = partial(self._store.release, key, claimant=self._claim.claimant)
            released = await self._link.ask(release, timeout_s=self._timeout_s)
            self._tally.end(ClaimEnd.UNSAID if released is AWAY else ClaimEnd.RELEASED)
            return
        settle = partial(
            self._store.settle,
            key,
            token=self._token,
            outcome=self._outcome,
            keep_s=self._keep_s,
            tell_s=self._claim.lease_s,  # whoever has not asked for so long has lost his turn as well
        )
        told = await self._link.ask(settle, timeout_s=self._timeout_s)
        if told is False:
            self._fence()
        else:
            self._tally.end(ClaimEnd.UNSAID if told is AWAY else ClaimEnd.TOLD)

    def _fence(self) -> None:
        self._is_fenced = True
        self._tally.end(ClaimEnd.FENCED)
        if self._events is not None:
            self._events.emit(ClaimFenced(key=self._claim.key.hex()))
