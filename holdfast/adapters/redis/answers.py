"""Shared answers in Redis.

Responsibility: `AnswerStore` over Redis: one hash for each key, one script for each change.
Guarantees: those of the port; the time is the server's alone; a hash that is not what the scripts have written counts
    as not there; what has ended is removed by Redis itself.
Not responsible for: the rule: `holdfast.ports.answer_record` states it, and the scripts state it again; the contract
    compares both on random histories. How many bytes all outcomes take: `maxmemory` bounds that.
"""

from __future__ import annotations

from typing import Any, Final

from holdfast.adapters.redis.store import RedisStore
from holdfast.ports.answer_record import as_us
from holdfast.ports.answer_store import AnswerClaim, AnswerStore, Busy, Told, Won

__all__ = ["RedisAnswers"]

_US_PER_S: Final = 1_000_000

# `token`, `changed` and `held` are numbers if there is a record that has not ended, and nil otherwise.
_READ: Final = """
local key = KEYS[1]
local kept = redis.call('HMGET', key, 'token', 'changed', 'claimant', 'held', 'settled', 'kept', 'told')
local token, changed, held = tonumber(kept[1] or ''), tonumber(kept[2] or ''), tonumber(kept[4] or '')
local claimant, settled = kept[3] or '', tonumber(kept[5] or '')
local kept_until, told_until = tonumber(kept[6] or ''), tonumber(kept[7] or '')
local last = token or 0
local is_whole = token and changed and held and kept_until and told_until

local function ends_at()
  local ends = token + 1
  if claimant ~= '' then ends = math.max(ends, held) end
  if settled then ends = math.max(ends, kept_until, told_until) end
  return ends
end

if not is_whole or now_us >= ends_at() or now_us < changed - 1000000 then
  token, claimant, settled = nil, '', nil
end

local function is_held()
  return token and claimant ~= '' and now_us < held
end

local function text(number)
  return string.format('%.0f', number)
end
"""

# A minute more, so that tokens grow also over small steps of the server's clock.
_WRITE: Final = """
redis.call('HSET', key, 'token', text(token), 'changed', text(now_us), 'claimant', claimant, 'held', text(held),
  'settled', settled and text(settled) or '', 'kept', text(kept_until), 'told', text(told_until))
redis.call('PEXPIRE', key, text(math.ceil(math.max(0, ends_at() - now_us) / 1000) + 60000))
"""

_CLAIM: Final = f"""{_READ}
local awaited, unusable = tonumber(ARGV[3]), tonumber(ARGV[4])
if settled and not (unusable and settled <= unusable) then
  local has_waited = awaited and settled >= awaited
  if now_us < kept_until or (has_waited and now_us < told_until) then
    return {{'told', text(settled), redis.call('HGET', key, 'outcome') or ''}}
  end
end
if is_held() and claimant ~= ARGV[1] then
  return {{'busy', text(token), text(held - now_us)}}
end
if not token then
  redis.call('DEL', key)
  kept_until, told_until = 0, 0
end
if not is_held() then
  token = math.max(now_us, last + 1)
end
claimant, held = ARGV[1], now_us + tonumber(ARGV[2])
{_WRITE}
return {{'won', text(token)}}
"""

_EXTEND: Final = f"""{_READ}
if not is_held() or token ~= tonumber(ARGV[1]) then
  return {{0}}
end
held = now_us + tonumber(ARGV[2])
{_WRITE}
return {{1}}
"""

_SETTLE: Final = f"""{_READ}
if settled and settled == tonumber(ARGV[1]) then
  return {{1}}
end
if not is_held() or token ~= tonumber(ARGV[1]) then
  return {{0}}
end
claimant, held, settled = '', now_us, token
kept_until, told_until = now_us + tonumber(ARGV[3]), now_us + tonumber(ARGV[4])
redis.call('HSET', key, 'outcome', ARGV[2])
{_WRITE}
return {{1}}
"""

_RELEASE: Final = f"""{_READ}
if token and claimant == ARGV[1] then
  claimant = ''
  {_WRITE}
end
return {{1}}
"""


class RedisAnswers:
    """Keeps answers in an open `RedisStore`."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    async def claim(self, claim: AnswerClaim) -> Told | Won | Busy:
        """Return what came of the key, or who is at it; see `AnswerStore.claim`."""
        heard = await self._run(
            _CLAIM,
            claim.key,
            claim.claimant,
            as_us(claim.lease_s),
            "" if claim.awaited is None else claim.awaited,
            "" if claim.unusable is None else claim.unusable,
        )
        token = int(heard[1])
        match heard[0]:
            case b"told":
                return Told(token=token, outcome=heard[2])
            case b"won":
                return Won(token=token)
            case _:
                return Busy(token=token, left_s=int(heard[2]) / _US_PER_S)

    async def extend(self, key: bytes, *, token: int, lease_s: float) -> bool:
        """Begin the lease anew; see `AnswerStore.extend`."""
        return bool((await self._run(_EXTEND, key, token, as_us(lease_s)))[0])

    async def settle(self, key: bytes, *, token: int, outcome: bytes, keep_s: float, tell_s: float) -> bool:
        """End a claim with what came of it; see `AnswerStore.settle`."""
        return bool((await self._run(_SETTLE, key, token, outcome, as_us(keep_s), as_us(tell_s)))[0])

    async def release(self, key: bytes, *, claimant: str) -> None:
        """End the claimant's claim without an outcome; see `AnswerStore.release`."""
        await self._run(_RELEASE, key, claimant)

    async def _run(self, script: str, key: bytes, *args: str | bytes | int) -> list[Any]:
        return await self._store.run(script, keys=[self._store.key("answer", key.hex())], args=args)


_: type[AnswerStore] = RedisAnswers
