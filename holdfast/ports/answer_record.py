"""What a store of answers knows of one key, and the rule by which that changes.

Responsibility: the one rule behind `holdfast.ports.answer_store.AnswerStore`, for stores that can call it, and for the
    contract that compares it with those that have to restate it.
Guarantees: at most one claim holds a key at any moment; tokens of a key grow; what a claim whose lease is over asks for
    changes nothing; a record that has ended says no more than none. A clock that is set back by more than a second ends
    what was known before: a lease, or an answer, would be good for as long again.
Not responsible for: keeping records, and time, which is passed in.

Times and durations are whole microseconds, which every store can compare exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from holdfast.ports.answer_store import AnswerClaim, Busy, Told, Won

__all__ = ["AnswerRecord", "as_us", "claimed", "extended", "released", "settled"]

_US_PER_S: Final = 1_000_000
_MOST_SET_BACK_US: Final = 1_000_000


def as_us(seconds: float) -> int:
    """Return a duration in whole microseconds."""
    return round(seconds * _US_PER_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRecord:
    """One key.

    Args:
        changed_at_us: when it was written.
        token: of the newest claim.
        claimant: whose that is; None once it was settled or released.
        held_until_us: when its lease is over.
        settled: token of the claim that `outcome` came from; None if there is no outcome.
        outcome: what came of it.
        kept_until_us: until when everybody is told.
        told_until_us: until when those are told who waited for it.
    """

    changed_at_us: int
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

    def has_ended(self, now_us: int) -> bool:
        """Return whether the record says nothing any more."""
        return now_us >= self.ends_at_us or now_us < self.changed_at_us - _MOST_SET_BACK_US

    def is_held(self, now_us: int) -> bool:
        """Return whether somebody is at it."""
        return self.claimant is not None and now_us < self.held_until_us

    def is_held_by(self, token: int, now_us: int) -> bool:
        """Return whether the claim of that token is not over."""
        return self.token == token and self.is_held(now_us) and not self.has_ended(now_us)

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
    if record is None or record.has_ended(now_us):
        token = now_us if record is None else max(now_us, record.token + 1)
        new = AnswerRecord(changed_at_us=now_us, token=token, claimant=claim.claimant, held_until_us=held_until_us)
        return new, Won(token=token)
    if (told := record.told(claim, now_us)) is not None:
        return record, told
    if record.is_held(now_us) and record.claimant != claim.claimant:
        return record, Busy(token=record.token, left_s=(record.held_until_us - now_us) / _US_PER_S)
    # Who asks again has not heard the answer.
    token = record.token if record.is_held(now_us) else max(now_us, record.token + 1)
    won = replace(record, changed_at_us=now_us, token=token, claimant=claim.claimant, held_until_us=held_until_us)
    return won, Won(token=token)


def extended(record: AnswerRecord | None, *, token: int, lease_s: float, now_us: int) -> AnswerRecord | None:
    """Return what is known of the key after its lease was begun anew; None if that is refused."""
    if record is None or not record.is_held_by(token, now_us):
        return None
    return replace(record, changed_at_us=now_us, held_until_us=now_us + as_us(lease_s))


def settled(
    record: AnswerRecord | None, *, token: int, outcome: bytes, keep_s: float, tell_s: float, now_us: int
) -> AnswerRecord | None:
    """Return what is known of the key after its claim was settled; None if that is refused."""
    if record is None:
        return None
    if record.settled == token and not record.has_ended(now_us):
        return record  # who asks again has not heard that it was done
    if not record.is_held_by(token, now_us):
        return None
    return AnswerRecord(
        changed_at_us=now_us,
        token=token,
        claimant=None,
        held_until_us=now_us,
        settled=token,
        outcome=outcome,
        kept_until_us=now_us + as_us(keep_s),
        told_until_us=now_us + as_us(tell_s),
    )


def released(record: AnswerRecord | None, *, claimant: str, now_us: int) -> AnswerRecord | None:
    """Return what is known of the key after `claimant` has given it up; None if that changes nothing."""
    if record is None or record.claimant != claimant or record.has_ended(now_us):
        return None
    return replace(record, changed_at_us=now_us, claimant=None)
