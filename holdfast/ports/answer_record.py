"""What a store of answers knows of one key, and the rule by which that changes.

Responsibility: the one rule behind `holdfast.ports.answer_store.AnswerStore`, for stores that can call it, and for the
    contract that compares it with those that have to restate it.
Guarantees: at most one claim holds a key at any moment; tokens of a key grow; what a claim whose lease is over asks for
    changes nothing; a record that has ended says no more than none.
Not responsible for: keeping records, and time, which is passed in and never goes back.

Times and durations are whole microseconds, which every store can compare exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from holdfast.ports.answer_store import AnswerClaim, Busy, Told, Won

__all__ = ["AnswerRecord", "as_us", "claimed", "extended", "released", "settled"]

_US_PER_S: Final = 1_000_000


def as_us(seconds: float) -> int:
    """Return a duration in whole microseconds."""
    return round(seconds * _US_PER_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRecord:
    """One key.

    Args:
        token: of the newest claim.
        claimant: whose that is; None once it was settled or released.
        held_until_us: when its lease is over.
        settled: token of the claim that `outcome` came from; None if there is no outcome.
        outcome: what came of it.
        kept_until_us: until when everybody is told.
        told_until_us: until when those are told who waited for it.
    """

    token: int
    claimant: str | None
    held_until_us: int
    settled: int | None = None
    outcome: bytes = b""
    kept_until_us: int = 0
    told_until_us: int = 0

    @property
    def ends_at_us(self) -> int:
        """From when on the record says nothing, so that it can be forgotten; no new token is an old one by then."""
        held_until_us = 0 if self.claimant is None else self.held_until_us
        told_until_us = 0 if self.settled is None else max(self.kept_until_us, self.told_until_us)
        return max(self.token + 1, held_until_us, told_until_us)

    def is_held(self, now_us: int) -> bool:
        """Return whether somebody is at it."""
        return self.claimant is not None and now_us < self.held_until_us

    def is_held_by(self, token: int, now_us: int) -> bool:
        """Return whether the claim of that token is not over."""
        return self.token == token and self.is_held(now_us)

    def told(self, claim: AnswerClaim, now_us: int) -> Told | None:
        """Return what `claim` is told of the outcome; None if there is none for it."""
        if self.settled is None or (claim.unusable is not None and self.settled <= claim.unusable):
            return None
        has_waited = claim.awaited is not None and self.settled >= claim.awaited
        if now_us < self.kept_until_us or (has_waited and now_us < self.told_until_us):
            return Told(token=self.settled, outcome=self.outcome)
        return None


def claimed(record: AnswerRecord | None, claim: AnswerClaim, now_us: int) -> tuple[AnswerRecord, Told | Won | Busy]:
    """Return what is known of the key after `claim`, and what the claimant hears."""
    held_until_us = now_us + as_us(claim.lease_s)
    if record is None or record.ends_at_us <= now_us:
        return AnswerRecord(token=now_us, claimant=claim.claimant, held_until_us=held_until_us), Won(token=now_us)
    if (told := record.told(claim, now_us)) is not None:
        return record, told
    if not record.is_held(now_us):
        token = max(now_us, record.token + 1)
        return replace(record, token=token, claimant=claim.claimant, held_until_us=held_until_us), Won(token=token)
    if record.claimant == claim.claimant:  # who asks again has not heard the answer
        return replace(record, held_until_us=held_until_us), Won(token=record.token)
    return record, Busy(token=record.token, left_s=(record.held_until_us - now_us) / _US_PER_S)


def extended(record: AnswerRecord | None, *, token: int, lease_s: float, now_us: int) -> AnswerRecord | None:
    """Return what is known of the key after its lease was begun anew; None if that is refused."""
    if record is None or not record.is_held_by(token, now_us):
        return None
    return replace(record, held_until_us=now_us + as_us(lease_s))


def settled(
    record: AnswerRecord | None, *, token: int, outcome: bytes, keep_s: float, tell_s: float, now_us: int
) -> AnswerRecord | None:
    """Return what is known of the key after its claim was settled; None if that is refused."""
    if record is None:
        return None
    if record.settled == token and now_us < record.ends_at_us:
        return record  # who asks again has not heard that it was done
    if not record.is_held_by(token, now_us):
        return None
    return AnswerRecord(
        token=token,
        claimant=None,
        held_until_us=now_us,
        settled=token,
        outcome=outcome,
        kept_until_us=now_us + as_us(keep_s),
        told_until_us=now_us + as_us(tell_s),
    )


def released(record: AnswerRecord | None, *, claimant: str) -> AnswerRecord | None:
    """Return what is known of the key after `claimant` has given it up; None if that changes nothing."""
    if record is None or record.claimant != claimant:
        return None
    return replace(record, claimant=None)
