"""Circuit breakers of several processes, in Redis.

Responsibility: `BreakerStore` over Redis: one hash for each breaker, one script for each change.
Guarantees: those of the port; the time is the server's alone.
Not responsible for: the rules: `BreakerRecord` states them, and the scripts state them again; the contract compares
    both on random histories.
"""

from __future__ import annotations

from typing import Any, Final

from holdfast.adapters.redis.store import RedisStore
from holdfast.ports.answer_record import as_us
from holdfast.ports.breaker_store import BreakerStore, BreakerView, Opening, ProbeResult, ProbeTerms
from holdfast.ports.statistics import BreakerState

__all__ = ["RedisBreakers"]

# Reads the record, and lets it become what it has become by itself.
_READ: Final = """
local key = KEYS[1]
local kept = redis.call('HMGET', key, 'number', 'open_until', 'closed_at', 'earlier', 'successes', 'failures',
  'probe', 'probe_until', 'reopening', 'reopening_earlier')
local number, open_until, closed_at = tonumber(kept[1] or '0'), tonumber(kept[2] or ''), tonumber(kept[3] or '')
local earlier, successes, failures = tonumber(kept[4] or '0'), tonumber(kept[5] or '0'), tonumber(kept[6] or '0')
local probe, probe_until = kept[7] or '', tonumber(kept[8] or '0')
local reopening, reopening_earlier = tonumber(kept[9] or '0'), tonumber(kept[10] or '0')

local function advance(at)
  number = math.max(number + 1, at)
end

local function open(at, lasts, openings)
  advance(at)
  open_until, closed_at, earlier = at + lasts, nil, openings
  successes, failures, probe = 0, 0, ''
end

local function is_open()
  return open_until and now_us < open_until
end

local function text(value)
  return value and string.format('%.0f', value) or ''
end

if probe ~= '' and now_us >= probe_until then
  open(probe_until, reopening, reopening_earlier)
end
"""

# The record outlives what it means by a day, so that a breaker that nobody asks for so long is forgotten.
_WRITE: Final = """
redis.call('HSET', key, 'number', text(number), 'open_until', text(open_until), 'closed_at', text(closed_at),
  'earlier', text(earlier), 'successes', text(successes), 'failures', text(failures),
  'probe', probe, 'probe_until', text(probe_until),
  'reopening', text(reopening), 'reopening_earlier', text(reopening_earlier))
local ends = math.max(now_us, open_until or 0, probe ~= '' and probe_until + reopening or 0)
redis.call('PEXPIRE', key, text(86400000 + math.ceil((ends - now_us) / 1000)))
"""

_VIEW: Final = """
local state = not open_until and 'closed' or is_open() and 'open' or 'half_open'
return {text(number), state, text(math.max(0, (open_until or 0) - now_us)),
  closed_at and text(math.max(0, now_us - closed_at)) or '', text(earlier), probe}
"""

_LOOK: Final = _READ + _VIEW

_OPEN: Final = f"""{_READ}
local lasts, openings = tonumber(ARGV[1]), tonumber(ARGV[2])
if is_open() then
  open_until, earlier = math.max(open_until, now_us + lasts), math.max(earlier, openings)
else
  open(now_us, lasts, openings)
end
{_WRITE}{_VIEW}"""

_CLAIM: Final = f"""{_READ}
if open_until and not is_open() and probe == '' then
  advance(now_us)
  probe, probe_until = ARGV[1], now_us + tonumber(ARGV[2])
  reopening, reopening_earlier = tonumber(ARGV[3]), tonumber(ARGV[4])
  {_WRITE}
end
{_VIEW}"""

_SETTLE: Final = f"""{_READ}
if probe == ARGV[1] then
  probe = ''
  if ARGV[2] == 'succeeded' then successes = successes + 1 end
  if ARGV[2] == 'failed' then failures = failures + 1 end
  if successes >= tonumber(ARGV[3]) then
    advance(now_us)
    open_until, closed_at, successes, failures = nil, now_us, 0, 0
  elseif failures > tonumber(ARGV[4]) then
    open(now_us, tonumber(ARGV[5]), tonumber(ARGV[6]))
  end
  {_WRITE}
end
{_VIEW}"""


class RedisBreakers:
    """Keeps breakers in an open `RedisStore`."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    async def look(self, name: str) -> BreakerView:
        """Return what is known; see `BreakerStore.look`."""
        return await self._run(_LOOK, name)

    async def open(self, name: str, opening: Opening) -> BreakerView:
        """Open it from now on; see `BreakerStore.open`."""
        return await self._run(_OPEN, name, *_opening(opening))

    async def claim(self, name: str, probe: str, terms: ProbeTerms) -> BreakerView:
        """Claim the one probe; see `BreakerStore.claim`."""
        return await self._run(_CLAIM, name, probe, as_us(terms.lease_s), *_opening(terms.reopening))

    async def settle(self, name: str, probe: str, result: ProbeResult, terms: ProbeTerms) -> BreakerView:
        """Say how a probe ended; see `BreakerStore.settle`."""
        return await self._run(
            _SETTLE, name, probe, result.value, terms.successes, terms.failures_allowed, *_opening(terms.reopening)
        )

    async def _run(self, script: str, name: str, *args: str | int) -> BreakerView:
        return _view(await self._store.run(script, keys=[self._store.key("breaker", name)], args=args))


def _opening(opening: Opening) -> tuple[int, int]:
    return as_us(opening.lasts_s), opening.earlier


def _view(answer: list[Any]) -> BreakerView:
    number, state, lasts_us, closed_us, earlier, probe = (bytes(part).decode() for part in answer)
    return BreakerView(
        number=int(number),
        state=BreakerState(state),
        lasts_s=int(lasts_us) / 1_000_000,
        closed_s=int(closed_us) / 1_000_000 if closed_us else None,
        earlier=int(earlier),
        probe=probe or None,
    )


_: type[BreakerStore] = RedisBreakers
