"""Shared answers in this process's memory.

Responsibility: `AnswerStore` without a server, for tests in which several services of one process stand for several
    processes.
Guarantees: those of the port, as long as the process lives; what has ended is forgotten, so that memory follows what is
    told.
Not responsible for: other processes; how many bytes the outcomes take.
"""

from __future__ import annotations

from typing import Final

from anyio.lowlevel import checkpoint

from holdfast.ports.answer_record import AnswerRecord, as_us, claimed, extended, released, settled
from holdfast.ports.answer_store import AnswerClaim, AnswerStore, Busy, Told, Won
from holdfast.ports.clock import Clock

__all__ = ["MemoryAnswers"]

_FEW: Final = 64


class MemoryAnswers:
    """Keeps what is known of each key until it has ended. For one event loop.

    Args:
        clock: the store's time.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._records: dict[bytes, AnswerRecord] = {}
        self._look_at = _FEW  # when there are so many, what has ended is forgotten

    async def claim(self, claim: AnswerClaim) -> Told | Won | Busy:
        """Return what came of the key, or who is at it; see `AnswerStore.claim`."""
        await checkpoint()
        self._forget_ended()
        self._records[claim.key], heard = claimed(self._records.get(claim.key), claim, self._now_us())
        return heard

    async def extend(self, key: bytes, *, token: int, lease_s: float) -> bool:
        """Begin the lease anew; see `AnswerStore.extend`."""
        await checkpoint()
        return self._keep(key, extended(self._records.get(key), token=token, lease_s=lease_s, now_us=self._now_us()))

    async def settle(self, key: bytes, *, token: int, outcome: bytes, keep_s: float, tell_s: float) -> bool:
        """End a claim with what came of it; see `AnswerStore.settle`."""
        await checkpoint()
        return self._keep(
            key,
            settled(
                self._records.get(key),
                token=token,
                outcome=outcome,
                keep_s=keep_s,
                tell_s=tell_s,
                now_us=self._now_us(),
            ),
        )

    async def release(self, key: bytes, *, claimant: str) -> None:
        """End the claimant's claim without an outcome; see `AnswerStore.release`."""
        await checkpoint()
        self._keep(key, released(self._records.get(key), claimant=claimant, now_us=self._now_us()))

    def lose(self) -> None:
        """Forget everything, as a server does that is restarted empty."""
        self._records.clear()

    def __len__(self) -> int:
        """Return how many keys something is known of."""
        return len(self._records)

    def _now_us(self) -> int:
        return as_us(self._clock.monotonic_s())

    def _keep(self, key: bytes, record: AnswerRecord | None) -> bool:
        if record is None:
            return False
        self._records[key] = record
        return True

    def _forget_ended(self) -> None:
        if len(self._records) < self._look_at:
            return
        now_us = self._now_us()
        self._records = {key: record for key, record in self._records.items() if not record.has_ended(now_us)}
        self._look_at = max(_FEW, 2 * len(self._records))


_: type[AnswerStore] = MemoryAnswers
