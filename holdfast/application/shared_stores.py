"""The store that several processes share, opened.

Responsibility: make what the settings describe: the store, and a port for each kind of state that is shared.
Guarantees: the driver is loaded only when it is chosen; opening connects to nothing, so that a store that is away
    delays nobody here.
Not responsible for: following it: see `holdfast.domain.store_link`; what is made of it: see
    `holdfast.application.wiring`.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, assert_never
from urllib.parse import urlsplit

from holdfast.adapters.files.secret_file import read_secret_file
from holdfast.application.shared_settings import (
    REDIS_PORT,
    SENTINEL_PORT,
    RedisSettings,
    SharedSettings,
    SqliteSharedSettings,
    host_and_port,
)
from holdfast.domain.shared_answers import SharedAnswersConfig
from holdfast.domain.shared_breaker import SharedBreakerConfig
from holdfast.domain.store_link import StoreLinkConfig
from holdfast.ports.answer_store import AnswerStore
from holdfast.ports.breaker_store import BreakerStore
from holdfast.ports.budget_store import BudgetStore
from holdfast.ports.clock import Clock
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.rate_store import RateStore
from holdfast.ports.session import SessionStore
from holdfast.ports.shared_store import SharedStore

if TYPE_CHECKING:
    from holdfast.adapters.redis import RedisAddress, RedisStore

__all__ = ["SharedStores", "memory_stores", "open_shared_stores"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedStores:
    """What several processes share, by its kind; it is all kept in one store.

    Args:
        store: that store.
        link: how it is followed.
        breakers: where circuit breakers are kept; None for each process its own.
        breaker_sharing: how those are shared.
        answers: where answers meet those who wait for them in other processes; None for each process its own.
        answer_sharing: how those are shared.
        rates: where rate limits are settled; None for each process its own.
        budgets: where retry budgets are kept; None for each process its own.
        sessions: where conversations are kept; None for where ``sessions`` says.
    """

    store: SharedStore
    link: StoreLinkConfig = field(default_factory=StoreLinkConfig)
    breakers: BreakerStore | None = None
    breaker_sharing: SharedBreakerConfig = field(default_factory=SharedBreakerConfig)
    answers: AnswerStore | None = None
    answer_sharing: SharedAnswersConfig = field(default_factory=SharedAnswersConfig)
    rates: RateStore | None = None
    budgets: BudgetStore | None = None
    sessions: SessionStore | None = None


def memory_stores(clock: Clock) -> SharedStores:
    """Return stores of every kind that services of this process share, as processes share those of a Redis; for tests.

    Put them into the container of each (see `holdfast.application.container.Container.shared_stores`).

    Args:
        clock: the time of all of them.
    """
    from holdfast.adapters.memory.shared_store import MemoryStore  # noqa: PLC0415 - loaded when it is chosen

    store = MemoryStore(clock=clock)
    return SharedStores(
        store=store,
        breakers=store.breakers,
        answers=store.answers,
        rates=store.rates,
        budgets=store.budgets,
        sessions=store.sessions,
    )


@asynccontextmanager
async def open_shared_stores(settings: SharedSettings | None, clock: Clock) -> AsyncGenerator[SharedStores | None]:
    """Give what `settings` describe, None for nothing shared.

    Args:
        settings: the section ``shared``.
        clock: measures time between questions where the store has no clock of its own.

    Raises:
        ConfigurationError: the driver is missing or does not run here, or the password or the certificates cannot be
            read.
    """
    match settings:
        case None:
            yield None
        case RedisSettings():
            async with _redis(settings) as store:
                from holdfast.adapters.redis import (  # noqa: PLC0415 - loaded when it is chosen
                    RedisAnswers,
                    RedisBreakers,
                    RedisBudgets,
                    RedisRates,
                    RedisSessions,
                )

                yield SharedStores(
                    store=store,
                    link=settings.link,
                    breakers=RedisBreakers(store) if "breakers" in settings.share else None,
                    breaker_sharing=settings.breakers,
                    answers=RedisAnswers(store) if "answers" in settings.share else None,
                    answer_sharing=settings.answers,
                    rates=RedisRates(store) if "rates" in settings.share else None,
                    budgets=RedisBudgets(store) if "budgets" in settings.share else None,
                    sessions=RedisSessions(store) if "sessions" in settings.share else None,
                )
        case SqliteSharedSettings():
            from holdfast.adapters.sqlite.answers import SqliteAnswers  # noqa: PLC0415 - as above
            from holdfast.adapters.sqlite.breakers import SqliteBreakers  # noqa: PLC0415 - as above
            from holdfast.adapters.sqlite.shared_store import SqliteStore  # noqa: PLC0415 - as above

            least_s = min(settings.link.timeout_s, settings.breakers.claim_timeout_s, settings.answers.claim_timeout_s)
            # A thread that waits for a lock cannot be left, so it gives up before whoever asked does.
            async with SqliteStore(settings.database, clock=clock, busy_timeout_s=0.8 * least_s) as embedded:
                yield SharedStores(
                    store=embedded,
                    link=settings.link,
                    breakers=SqliteBreakers(embedded) if "breakers" in settings.share else None,
                    breaker_sharing=settings.breakers,
                    answers=SqliteAnswers(embedded) if "answers" in settings.share else None,
                    answer_sharing=settings.answers,
                )
        case _:
            assert_never(settings)


def _redis(settings: RedisSettings) -> RedisStore:
    try:
        from holdfast.adapters.redis import RedisConfig, RedisStore  # noqa: PLC0415 - loaded when it is chosen
    except ImportError as error:
        raise ConfigurationError(str(error), path="shared.kind") from error

    password = None if settings.password is None else settings.password.get_secret_value()
    if settings.password_file is not None:
        password = read_secret_file(settings.password_file, setting="shared.password_file").strip()
    return RedisStore(
        RedisConfig(
            address=_address(settings),
            username=settings.username,
            password=password,
            tls=settings.is_encrypted,
            ca_file=_checked(settings.ca_file),
            prefix=settings.prefix,
            connect_timeout_s=settings.connect_timeout_s,
            command_timeout_s=settings.command_timeout_s,
            max_connections=settings.max_connections,
        )
    )


def _checked(ca_file: Path | None) -> Path | None:
    if ca_file is not None:
        try:
            ssl.create_default_context(cafile=ca_file)  # the driver reads it when it connects, and names no file then
        except OSError as error:
            raise ConfigurationError(
                f"{str(ca_file)!r} cannot be used: {error.strerror or error}", path="shared.ca_file"
            ) from error
    return ca_file


def _address(settings: RedisSettings) -> RedisAddress:
    from holdfast.adapters.redis import RedisCluster, RedisSentinel, RedisServer  # noqa: PLC0415 - as above

    if settings.service is not None:
        return RedisSentinel(
            sentinels=tuple(
                host_and_port(address, path="shared.sentinels", default_port=SENTINEL_PORT)
                for address in settings.sentinels
            ),
            service=settings.service,
            database=settings.database,
        )
    if settings.url is None:
        return RedisCluster(
            nodes=tuple(
                host_and_port(address, path="shared.cluster", default_port=REDIS_PORT) for address in settings.cluster
            )
        )
    url = urlsplit(settings.url)
    if url.scheme == "unix":
        return RedisServer(unix_socket=url.path)
    host, port = host_and_port(url.netloc, path="shared.url", default_port=REDIS_PORT)
    return RedisServer(host=host, port=port, database=int(url.path.strip("/") or 0))
