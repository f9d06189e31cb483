"""Rate limits that several processes share, in Redis.

Responsibility: `RateStore` over Redis, in one script.
Guarantees: those of the port. Every key has a time to live, after which nothing is in it any more.
Not responsible for: what a limit is: `holdfast.ports.rate_store` has the rules, and the contract holds the script to
    them.

All limits are on one node of a cluster, because who shares them and what each holds change together: adr/0045.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from holdfast.adapters.redis.store import RedisStore
from holdfast.ports.rate_store import SHARED_RATIO, RateClaim, RateGrant, RateStore, RateTerms

__all__ = ["RedisRates"]

_SETTLE: Final = """
local me, sent, lease_us, ratio = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local function text(number) return string.format('%.17g', number) end

local packed = redis.call('GET', KEYS[1])
local members = packed and cmsgpack.unpack(packed) or {}
local processes, others = 1, 0
for name, member in pairs(members) do
  if name ~= me and member.until_us <= now_us then
    members[name] = nil
  elseif name ~= me then
    processes = processes + 1
    others = others + member.share
  end
end
local share = math.max(0, math.min(ratio / processes, ratio - others))
members[me] = {share = math.max(sent, share), until_us = now_us + lease_us}
redis.call('SET', KEYS[1], cmsgpack.pack(members), 'PX', math.ceil(lease_us / 500) + 60000)

local reply = {text(share), text(processes)}
for at = 6, #ARGV, 9 do
  local key, retires = ARGV[1] .. ARGV[at], ARGV[at + 8] == '1'
  local per_s, burst, most = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local spent, kept = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local wanted, least = tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
  local found = redis.call('GET', key)
  local level = found and cmsgpack.unpack(found) or {used = 0, us = now_us, held = {}}
  level.used = math.max(0, level.used - math.max(0, now_us - level.us) / 1000000 * per_s)
  level.us = now_us
  for name, held in pairs(level.held) do
    if held[2] <= now_us then
      level.used = level.used + held[1]
      level.held[name] = nil
    end
  end
  level.used = math.min(level.used + spent, most)
  level.held[me] = nil
  local held, silent, shares = 0, 0, 0
  for name, member in pairs(members) do
    if level.held[name] then
      held = held + level.held[name][1]
    elseif name ~= me then
      silent = silent + 1
      shares = shares + member.share
    end
  end
  local left = burst - level.used - held
  local untouched = math.max(shares + members[me].share, ratio * (silent + 1) / processes) * burst
  local granted, retired = 0, '0'
  if retires and left >= untouched then
    retired, left = '1', left - untouched
  else
    left = left - math.max(shares, ratio * silent / processes) * burst
    granted = math.min(wanted, math.max(0, left - kept))
    if granted + per_s * 0.000001 < least then granted = 0 end
    level.held[me] = {kept + granted, now_us + lease_us}
    held, left = held + kept + granted, left - kept - granted
  end
  local drained_ms = (level.used + held) / per_s * 1000
  redis.call('SET', key, cmsgpack.pack(level), 'PX', math.ceil(drained_ms + lease_us / 500) + 60000)
  for _, number in ipairs({granted, left}) do table.insert(reply, text(number)) end
  table.insert(reply, retired)
end
return reply
"""


class RedisRates:
    """Keeps limits in Redis.

    Args:
        store: where they are kept.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    async def settle(self, member: str, share: float, claims: Sequence[RateClaim], *, lease_s: float) -> RateTerms:
        """Note what a process used, and return what it may use; see `RateStore.settle`."""
        args: list[str | bytes | int] = [
            self._store.key("rates", "all", "limit", ""),
            member,
            repr(share),
            int(lease_s * 1e6),
            repr(SHARED_RATIO),
        ]
        for claim in claims:
            rule = claim.rule
            args += [
                claim.name,
                *map(repr, (rule.per_s, rule.burst, rule.most, claim.spent, claim.kept, claim.wanted, claim.least)),
                int(claim.retires),
            ]
        found, processes, *grants = await self._store.run(
            _SETTLE, keys=[self._store.key("rates", "all", "members")], args=args
        )
        return RateTerms(
            share=float(found),
            processes=int(processes),
            grants=tuple(
                RateGrant(granted=float(granted), left=float(left), retired=retired == b"1")
                for granted, left, retired in zip(grants[::3], grants[1::3], grants[2::3], strict=True)
            ),
        )


_: type[RateStore] = RedisRates
