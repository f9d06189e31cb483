"""Retry budgets that several processes share, in Redis.

Responsibility: `BudgetStore` over Redis, in one script.
Guarantees: those of the port. Every key has a time to live, after which nothing in it counts any more.
Not responsible for: what a process may spend: `holdfast.ports.budget_store` has the rule, and the contract holds the
    script to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from holdfast.adapters.redis.store import RedisStore
from holdfast.ports.budget_store import BudgetPart, BudgetReport, BudgetStore

__all__ = ["RedisBudgets"]

_EXCHANGE: Final = """
local me, lease_us = ARGV[1], tonumber(ARGV[2])
local reply = {}
for at, key in ipairs(KEYS) do
  local first = 3 * at
  local ratio, requests, spent = tonumber(ARGV[first]), tonumber(ARGV[first + 1]), tonumber(ARGV[first + 2])
  local found = redis.call('GET', key)
  local entries = found and cmsgpack.unpack(found) or {}
  local processes, all_requests, all_spent, held = 1, requests, spent, 0
  for name, entry in pairs(entries) do
    if name == me or entry[4] <= now_us then
      entries[name] = nil
    else
      processes = processes + 1
      all_requests, all_spent, held = all_requests + entry[1], all_spent + entry[2], held + entry[3]
    end
  end
  local unspent = ratio * all_requests - all_spent
  local tokens = math.max(0, math.min(unspent - held, unspent / processes))
  entries[me] = {requests, spent, tokens, now_us + lease_us}
  redis.call('SET', key, cmsgpack.pack(entries), 'PX', math.ceil(lease_us / 500) + 60000)
  table.insert(reply, string.format('%.17g', tokens))
  table.insert(reply, tostring(processes))
end
return reply
"""


class RedisBudgets:
    """Keeps budgets in Redis.

    Args:
        store: where they are kept.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    async def exchange(self, member: str, reports: Sequence[BudgetReport], *, lease_s: float) -> tuple[BudgetPart, ...]:
        """Note what a process tells, and return what it may do; see `BudgetStore.exchange`."""
        if not reports:
            return ()  # a script without a key would go to any node of a cluster
        args: list[str | bytes | int] = [member, int(lease_s * 1e6)]
        for report in reports:
            args += [repr(report.ratio), report.requests, report.spent]
        keys = [self._store.key("budgets", "all", report.name) for report in reports]
        reply = await self._store.run(_EXCHANGE, keys=keys, args=args)
        return tuple(
            BudgetPart(tokens=float(tokens), processes=int(processes))
            for tokens, processes in zip(reply[::2], reply[1::2], strict=True)
        )


_: type[BudgetStore] = RedisBudgets
