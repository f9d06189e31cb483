"""What a store keeps of the circuit breaker of several processes, and the rules that it follows.

Responsibility: what becomes of a breaker as time passes, as it is opened, and as probes are claimed and settled.
Guarantees: every rule is pure and stands here once; a store that has to state them again, as in Lua, is compared with
    them on random histories by `holdfast.testing.contracts.breaker_store`.
Not responsible for: where a record is kept, and what the time is: the store says both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from holdfast.ports.answer_record import as_us
from holdfast.ports.breaker_store import BreakerView, Opening, ProbeResult, ProbeTerms
from holdfast.ports.statistics import BreakerState

__all__ = ["BreakerRecord"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRecord:
    """What a store keeps of one breaker; its times are microseconds on the store's clock.

    Args:
        number: of the latest change or claim.
        open_until_us: when the latest opening ends; None in a closed one.
        closed_at_us: when a closed one closed.
        earlier: how many openings lengthen the next.
        successes: of the probes since the latest opening.
        failures: likewise.
        probe: the claim of the probe that is under way.
        probe_until_us: when its lease ends.
        reopening_us: how long the breaker is open if its lease ends first.
        reopening_earlier: how many openings then lengthen the next.
    """

    number: int = 0
    open_until_us: int | None = None
    closed_at_us: int | None = None
    earlier: int = 0
    successes: int = 0
    failures: int = 0
    probe: str | None = None
    probe_until_us: int = 0
    reopening_us: int = 0
    reopening_earlier: int = 0

    def view(self, now_us: int) -> BreakerView:
        """Return what is known now."""
        record = self.at(now_us)
        lasts_us = 0 if record.open_until_us is None else max(0, record.open_until_us - now_us)
        return BreakerView(
            number=record.number,
            state=_state(record, now_us),
            lasts_s=lasts_us / 1_000_000,
            closed_s=None if record.closed_at_us is None else max(0, now_us - record.closed_at_us) / 1_000_000,
            earlier=record.earlier,
            probe=record.probe,
        )

    def at(self, now_us: int) -> BreakerRecord:
        """Return what it has become by itself: a probe whose lease ended has opened it again at that moment."""
        if self.probe is None or now_us < self.probe_until_us:
            return self
        return _opened(self, self.probe_until_us, self.reopening_us, self.reopening_earlier)

    def opened(self, now_us: int, opening: Opening) -> BreakerRecord:
        """Return it open; see `BreakerStore.open`."""
        record = self.at(now_us)
        lasts_us = as_us(opening.lasts_s)
        if record.open_until_us is None or record.open_until_us <= now_us:
            return _opened(record, now_us, lasts_us, opening.earlier)
        return replace(
            record,
            open_until_us=max(record.open_until_us, now_us + lasts_us),
            earlier=max(record.earlier, opening.earlier),
        )

    def claimed(self, now_us: int, probe: str, terms: ProbeTerms) -> BreakerRecord:
        """Return it with the probe under way if that may begin; see `BreakerStore.claim`."""
        record = self.at(now_us)
        if _state(record, now_us) is not BreakerState.HALF_OPEN or record.probe is not None:
            return record
        return replace(
            record,
            number=_next(record, now_us),
            probe=probe,
            probe_until_us=now_us + as_us(terms.lease_s),
            reopening_us=as_us(terms.reopening.lasts_s),
            reopening_earlier=terms.reopening.earlier,
        )

    def settled(self, now_us: int, probe: str, result: ProbeResult, terms: ProbeTerms) -> BreakerRecord:
        """Return it without the probe, and where that led; see `BreakerStore.settle`."""
        record = self.at(now_us)
        if record.probe != probe:
            return record
        successes = record.successes + (result is ProbeResult.SUCCEEDED)
        failures = record.failures + (result is ProbeResult.FAILED)
        if successes >= terms.successes:
            return BreakerRecord(number=_next(record, now_us), closed_at_us=now_us, earlier=record.earlier)
        if failures > terms.failures_allowed:
            return _opened(record, now_us, as_us(terms.reopening.lasts_s), terms.reopening.earlier)
        return replace(record, successes=successes, failures=failures, probe=None)


def _state(record: BreakerRecord, now_us: int) -> BreakerState:
    if record.open_until_us is None:
        return BreakerState.CLOSED
    return BreakerState.OPEN if now_us < record.open_until_us else BreakerState.HALF_OPEN


def _opened(record: BreakerRecord, at_us: int, lasts_us: int, earlier: int) -> BreakerRecord:
    return BreakerRecord(number=_next(record, at_us), open_until_us=at_us + lasts_us, earlier=earlier)


def _next(record: BreakerRecord, at_us: int) -> int:
    # Begun at the time, numbers go on growing where everything was lost.
    return max(record.number + 1, at_us)
