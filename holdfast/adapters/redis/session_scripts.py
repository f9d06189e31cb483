"""What changes sessions in Redis, in Lua.

Responsibility: one script for each change of `holdfast.ports.session.SessionStore`, which Redis runs as a whole.
Guarantees: a script that refuses has changed no session; every key it writes has a time to live, which is longer than
    that of what is in it; time in the store never goes back; an index of which Redis has thrown a part away counts as
    emptied, and a session of which it has, as gone.
Not responsible for: what the replies mean: see `holdfast.adapters.redis.sessions`.

All sessions have one index: two keys, a hash of what is known of each and of all, and a sorted set in order of use.
What was said stands apart from it, a list of turns and perhaps a system message for each session, so that a use of one
session moves none of it. `SessionBounds.removal` is stated again in ``make_room``; the contract holds both to it.

Redis refuses a script for want of memory at its first write only, and not if that one frees some: so nothing is deleted
that is not there.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CREATE", "DELETE", "LOAD", "SAVE"]

_COMMON: Final = """
local index, order, bodies, name = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local max_bytes, max_total_bytes, max_sessions = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local idle_us, most_expired, ttl_ms = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])

local function clear(...)
  if redis.call('EXISTS', ...) > 0 then redis.call('UNLINK', ...) end
end

local packed = redis.call('HGET', index, 'totals')
local totals = packed and cmsgpack.unpack(packed)
if not totals or totals.sessions + 1 ~= redis.call('HLEN', index) or totals.sessions ~= redis.call('ZCARD', order) then
  clear(index, order)
  totals = {
    sessions = 0, bytes = 0, created = 0, expired = 0, evicted = 0, deleted = 0, uses = 0, us = 0, wall_us = now_us,
  }
end
totals.us = totals.us + math.max(0, now_us - totals.wall_us)
totals.wall_us = now_us

local function text(number) return string.format('%.0f', number) end

local function turns_of(who) return bodies .. 'turns:' .. who end
local function system_of(who) return bodies .. 'system:' .. who end

local function keep(key)
  if redis.call('PTTL', key) < ttl_ms then redis.call('PEXPIRE', key, ARGV[8]) end
end

local function has_expired(head) return totals.us - head.used_us > idle_us end

local function find()
  local found = redis.call('HGET', index, name)
  if not found then return nil end
  local head = cmsgpack.unpack(found)
  local is_whole = redis.call('LLEN', turns_of(name)) == head.turns
    and redis.call('EXISTS', system_of(name)) == head.system
  return head, is_whole and not has_expired(head)
end

local function forget(who, head)
  redis.call('HDEL', index, who)
  redis.call('ZREM', order, who)
  redis.call('UNLINK', turns_of(who), system_of(who))
  totals.sessions = totals.sessions - 1
  totals.bytes = totals.bytes - head.bytes
end

local function remove(who, head, reason, gone)
  forget(who, head)
  totals[reason] = totals[reason] + 1
  table.insert(gone, {who, reason, text(totals.us - head.used_us), text(head.bytes)})
end

local function make_room(gone)
  while true do
    local oldest = redis.call('ZRANGE', order, 0, 0)[1]
    local head = cmsgpack.unpack(redis.call('HGET', index, oldest))
    local full = totals.sessions > max_sessions or (totals.sessions > 1 and totals.bytes > max_total_bytes)
    local expired = has_expired(head)
    if not full and not (expired and #gone < most_expired) then return gone end
    remove(oldest, head, expired and 'expired' or 'evicted', gone)
  end
end

local function use(head)
  totals.uses = totals.uses + 1
  head.used_us = totals.us
  redis.call('HSET', index, name, cmsgpack.pack(head))
  redis.call('ZADD', order, totals.uses, name)
  keep(turns_of(name))
  keep(system_of(name))
end

local function write(gone)
  redis.call('HSET', index, 'totals', cmsgpack.pack(totals))
  keep(index)
  keep(order)
  local reply = {'done'}
  for _, count in ipairs({'sessions', 'bytes', 'created', 'expired', 'evicted', 'deleted'}) do
    table.insert(reply, text(totals[count]))
  end
  table.insert(reply, text(#gone))
  for _, removed in ipairs(gone) do
    for _, part in ipairs(removed) do table.insert(reply, part) end
  end
  return reply
end
"""

CREATE: Final = (
    _COMMON
    + """
local head, is_there = find()
local gone = {}
if is_there then return {'conflict', text(head.version)} end
if head then remove(name, head, has_expired(head) and 'expired' or 'evicted', gone) end
clear(turns_of(name), system_of(name))
head = {
  incarnation = ARGV[9], version = tonumber(ARGV[10]), persona = ARGV[11], fixed = tonumber(ARGV[12]),
  bytes = tonumber(ARGV[13]), system = tonumber(ARGV[14]), turns = #ARGV - 15,
}
if head.system == 1 then redis.call('SET', system_of(name), ARGV[15]) end
for at = 16, #ARGV do redis.call('RPUSH', turns_of(name), ARGV[at]) end
totals.sessions = totals.sessions + 1
totals.bytes = totals.bytes + head.bytes
totals.created = totals.created + 1
use(head)
return write(make_room(gone))
"""
)

LOAD: Final = (
    _COMMON
    + """
local head, is_there = find()
if not is_there then return {'missing'} end
use(head)
local turns = redis.call('LRANGE', turns_of(name), 0, -1)
local system = head.system == 1 and redis.call('GET', system_of(name)) or ''
local reply = write(make_room({}))
for _, part in ipairs({
  head.incarnation, text(head.version), head.persona, text(head.fixed), text(head.bytes), text(head.system), system,
}) do table.insert(reply, part) end
for _, turn in ipairs(turns) do table.insert(reply, turn) end
return reply
"""
)

SAVE: Final = (
    _COMMON
    + """
local head, is_there = find()
if not is_there or head.incarnation ~= ARGV[9] then return {'missing'} end
if head.version ~= tonumber(ARGV[10]) then return {'conflict', text(head.version)} end
local before = head.bytes
local trimmed_turns, trimmed_messages, trimmed_bytes = 0, 0, 0
head.version = head.version + 1
head.persona = ARGV[11]
head.bytes = head.bytes + tonumber(ARGV[12])
while head.bytes > max_bytes and head.turns > 0 do
  local bytes, messages = string.match(redis.call('LPOP', turns_of(name)), '^(%d+) (%d+)')
  trimmed_turns = trimmed_turns + 1
  trimmed_messages = trimmed_messages + tonumber(messages)
  trimmed_bytes = trimmed_bytes + tonumber(bytes)
  head.bytes = head.bytes - tonumber(bytes)
  head.turns = head.turns - 1
end
if ARGV[13] then
  redis.call('RPUSH', turns_of(name), ARGV[13])
  head.turns = head.turns + 1
end
totals.bytes = totals.bytes + head.bytes - before
use(head)
local reply = write(make_room({}))
for _, count in ipairs({trimmed_turns, trimmed_messages, trimmed_bytes}) do table.insert(reply, text(count)) end
return reply
"""
)

DELETE: Final = (
    _COMMON
    + """
local head, is_there = find()
if not is_there then return {'missing'} end
forget(name, head)
totals.deleted = totals.deleted + 1
return write({})
"""
)
