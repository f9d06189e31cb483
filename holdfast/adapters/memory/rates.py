"""Rate limits that are shared within this process's memory.

Responsibility: `RateStore` without a server, for tests in which several parts of one process stand for processes.
Guarantees: those of the port.
Not responsible for: processes: each has a memory of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.ports.clock import Clock
from holdfast.ports.rate_store import RateClaim, RateGrant, RateStore, RateTerms, fair_share, untouched_ratio

__all__ = ["MemoryRates"]


class _Member:
    __slots__ = ("share", "until_s")

    def __init__(self, share: float, until_s: float) -> None:
        self.share = share
        self.until_s = until_s


class _Level:
    __slots__ = ("at_s", "held", "used")

    def __init__(self, at_s: float) -> None:
        self.at_s = at_s
        self.used = 0.0
        self.held: dict[str, tuple[float, float]] = {}  # units, and until when


class MemoryRates:
    """Keeps limits until the process ends. For one event loop; no call waits.

    Args:
        clock: the store's own time.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._members: dict[str, _Member] = {}
        self._levels: dict[str, _Level] = {}

    async def settle(self, member: str, share: float, claims: Sequence[RateClaim], *, lease_s: float) -> RateTerms:
        """Note what a process used, and return what it may use; see `RateStore.settle`."""
        now_s = self._clock.monotonic_s()
        others = {name: other for name, other in self._members.items() if name != member and other.until_s > now_s}
        granted = fair_share(len(others) + 1, others=sum(other.share for other in others.values()))
        # It goes by the other share until this is answered, or longer.
        self._members = others | {member: _Member(max(share, granted), now_s + lease_s)}
        grants = tuple(self._settle(member, claim, now_s, lease_s) for claim in claims)
        return RateTerms(share=granted, processes=len(self._members), grants=grants)

    def lose(self) -> None:
        """Forget everything, as a server does that is restarted empty."""
        self._members.clear()
        self._levels.clear()

    def _settle(self, member: str, claim: RateClaim, now_s: float, lease_s: float) -> RateGrant:
        rule, level = claim.rule, self._levels.setdefault(claim.name, _Level(now_s))
        used = rule.after(level.used, now_s - level.at_s)
        for name, (units, until_s) in list(level.held.items()):
            if until_s <= now_s:
                used += units
                del level.held[name]
        level.used = used = rule.with_used(used, claim.spent)
        level.at_s = now_s
        level.held.pop(member, None)
        left = rule.burst - used - sum(units for units, _ in level.held.values())
        if claim.retires and left >= (untouched := self._untouched(level, member, is_silent=True) * rule.burst):
            return RateGrant(granted=0.0, left=left - untouched, retired=True)
        left -= self._untouched(level, member, is_silent=False) * rule.burst
        granted = claim.granted(left)
        level.held[member] = claim.kept + granted, now_s + lease_s
        return RateGrant(granted=granted, left=left - claim.kept - granted, retired=False)

    def _untouched(self, level: _Level, member: str, *, is_silent: bool) -> float:
        silent = [
            other.share
            for name, other in self._members.items()
            if name not in level.held and (name != member or is_silent)
        ]
        return untouched_ratio(len(self._members), silent=len(silent), shares=sum(silent))


_: type[RateStore] = MemoryRates
