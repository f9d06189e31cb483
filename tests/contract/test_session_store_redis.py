"""The contract of sessions, held by Redis."""

from __future__ import annotations

from holdfast.adapters.redis.sessions import RedisSessions
from holdfast.ports.session import SessionStore
from holdfast.testing.contracts.session_store import SessionStoreContract
from tests.fakes.redis_clock import InRedis


class TestRedisSessions(InRedis[SessionStore], SessionStoreContract):
    make = RedisSessions
