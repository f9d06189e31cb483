"""Answers that several processes share, and who is at one of them.

Responsibility: who calls for a key, and what came of it, among processes that know each other only through one store.
Guarantees: every value is frozen; an outcome is bytes that the store neither reads nor changes.
Not responsible for: what an outcome says: see `holdfast.domain.answer_codec`; when to ask, and going on without the
    store: see `holdfast.domain.shared_answers`; the rule that every store follows: see `holdfast.ports.answer_record`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["AnswerClaim", "AnswerStore", "Busy", "Told", "Won"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerClaim:
    """Somebody's wish to call for a key.

    Args:
        key: what the answer answers, 32 bytes.
        claimant: who asks; no two flights have the same name, in whatever process.
        lease_s: seconds for which the key shall be the claimant's, if nobody else has it.
        awaited: token of the claim whose end the claimant waits for; None for nobody's. Whoever has waited is told an
            outcome that is no longer given to newcomers, for a while.
        unusable: token of an outcome that the claimant cannot read, so that it and those before it count as not there;
            None for none.
    """

    key: bytes
    claimant: str
    lease_s: float
    awaited: int | None = None
    unusable: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Somebody has called.

    Args:
        token: of his claim.
        outcome: what came of it.
    """

    token: int
    outcome: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Won:
    """The key is the claimant's for the time of the lease: it calls, and nobody else.

    Args:
        token: names the claim, to extend and to settle it; grows with every claim of the key.
    """

    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """Somebody else is at it.

    Args:
        token: of his claim.
        left_s: seconds until his lease is over, unless he extends it.
    """

    token: int
    left_s: float


class AnswerStore(Protocol):
    """Lets one of many call for a key, and tells the others what came of it.

    Atomicity: each call is one change, or none. Time: the store's own, which goes on at one pace for all who use it,
    whatever their clocks say. Fencing: a claim ends with its lease; from then on its token changes nothing, whether
    somebody else has claimed the key or not. Idempotency: each call may be made again with the same arguments.
    Loss: a store may forget an outcome or a claim before its time; it never tells one key's outcome to another.
    Cancellation: the call did nothing yet, or completes. Errors: `StoreUnavailableError` and `StoreRefusedError`.
    Rule: `holdfast.ports.answer_record` has what to keep for each key, and makes every change; a store that cannot call
    it does the same, to the microsecond.
    """

    async def claim(self, claim: AnswerClaim) -> Told | Won | Busy:
        """Return what came of the key, or who is at it; if nobody is, it is the claimant's."""
        ...

    async def extend(self, key: bytes, *, token: int, lease_s: float) -> bool:
        """Begin the lease anew; return False, and change nothing, if it was over."""
        ...

    async def settle(self, key: bytes, *, token: int, outcome: bytes, keep_s: float, tell_s: float) -> bool:
        """End a claim with what came of it; return False, and change nothing, if its lease was over.

        Args:
            key: what was claimed.
            token: of the claim.
            outcome: what came of it.
            keep_s: seconds for which it is told to everybody; 0 for nobody.
            tell_s: seconds for which it is told to those who waited for it.
        """
        ...

    async def release(self, key: bytes, *, claimant: str) -> None:
        """End the claimant's claim without an outcome, if it has one: whoever asks next has the key."""
        ...
