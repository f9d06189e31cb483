"""What several processes share in Redis; needs the extra ``redis``, and asyncio."""

from holdfast.adapters.redis.address import RedisAddress, RedisCluster, RedisSentinel, RedisServer
from holdfast.adapters.redis.answers import RedisAnswers
from holdfast.adapters.redis.breakers import RedisBreakers
from holdfast.adapters.redis.budgets import RedisBudgets
from holdfast.adapters.redis.rates import RedisRates
from holdfast.adapters.redis.sessions import RedisSessions
from holdfast.adapters.redis.store import RedisConfig, RedisStore

__all__ = [
    "RedisAddress",
    "RedisAnswers",
    "RedisBreakers",
    "RedisBudgets",
    "RedisCluster",
    "RedisConfig",
    "RedisRates",
    "RedisSentinel",
    "RedisServer",
    "RedisSessions",
    "RedisStore",
]
