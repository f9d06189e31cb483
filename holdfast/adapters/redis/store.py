"""A Redis that several processes share.

Responsibility: `SharedStore` over Redis, and one way in which everything that is kept there is asked: a script.
Guarantees: a script is sent whole only where the server does not know it; no command is sent twice, and none is cut off
    in the midst: whoever is cancelled leaves, and the answer is read and dropped, so that nobody reads another's; no
    more commands are under way than there are connections; errors are those of the port.
Not responsible for: what is kept: see the modules beside this one; going on without Redis: see
    `holdfast.domain.store_link`.

The driver runs on asyncio only.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

import anyio
from anyio.abc import TaskGroup
from redis.exceptions import NoScriptError

from holdfast.adapters.redis.address import Client, ClientOptions, RedisAddress, RedisServer
from holdfast.adapters.redis.errors import STORE, translated
from holdfast.ports.errors import ConfigurationError, StoreUnavailableError
from holdfast.ports.shared_store import SharedStore

__all__ = ["SERVER_TIME", "RedisConfig", "RedisStore"]

SERVER_TIME: Final = "local t = redis.call('TIME') local now_us = t[1] * 1000000 + t[2]"
"""Reads the server's clock into `now_us`: microseconds, which Lua's numbers hold exactly for two more centuries."""

_CLOSE_S: Final = 1.0

# Writing each time shows that the store can be written to; a replica would answer a question.
_EPOCH: Final = """
local epoch = redis.call('GET', KEYS[1]) or ARGV[1]
redis.call('SET', KEYS[1], epoch, 'PX', ARGV[2])
return {epoch}
"""
_EPOCH_TTL_MS: Final = 7 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisConfig:
    """Where Redis is, and how it is talked to.

    Args:
        address: the server, sentinels or cluster.
        username: None for the default user.
        password: None where none is asked for.
        tls: whether connections are encrypted, and the server's certificate checked.
        ca_file: whom that has to be signed by; None for those that the system trusts.
        prefix: what all keys begin with; default ``holdfast``.
        connect_timeout_s: seconds that connecting may take; default 1, unmeasured.
        command_timeout_s: seconds that an answer may take; default 1, unmeasured. Whoever asks may give up earlier.
        max_connections: how many commands are under way at once; default 16, unmeasured.
    """

    address: RedisAddress = field(default_factory=RedisServer)
    username: str | None = None
    password: str | None = None
    tls: bool = False
    ca_file: Path | None = None
    prefix: str = "holdfast"
    connect_timeout_s: float = 1.0
    command_timeout_s: float = 1.0
    max_connections: int = 16

    def __post_init__(self) -> None:
        if not self.prefix or set(self.prefix) & set("{}"):
            raise ConfigurationError(f"{self.prefix!r} needs a character, and none of {{}}", path="shared.prefix")

    def __repr__(self) -> str:
        """Leave the password out."""
        return f"RedisConfig(address={self.address!r}, prefix={self.prefix!r})"


class _Question:
    """One script that was sent, and its answer as soon as there is one."""

    __slots__ = ("answer", "answered", "error")

    def __init__(self) -> None:
        self.answered = anyio.Event()
        self.answer: list[Any] = []
        self.error: Exception | None = None


class RedisStore:
    """Asks one Redis. Open it with ``async with``; opening connects to nothing.

    Args:
        config: where it is.
        time: the piece of Lua that sets `now_us` at the start of each script; for tests that set the time themselves.
    """

    _tasks: TaskGroup
    _client: Client

    def __init__(self, config: RedisConfig = RedisConfig(), *, time: str = SERVER_TIME) -> None:
        self._config = config
        self._time = time
        self._scripts: dict[str, tuple[str, str]] = {}
        self._slots = anyio.Semaphore(config.max_connections, fast_acquire=True)

    async def __aenter__(self) -> Self:
        """Get ready.

        Raises:
            ConfigurationError: on another event loop than asyncio's.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError as error:
            raise ConfigurationError(
                "redis-py runs on asyncio only; open it there, or leave shared out", path="shared.kind"
            ) from error
        config = self._config
        self._client = config.address.connect(
            ClientOptions(
                username=config.username,
                password=config.password,
                tls=config.tls,
                ca_file=config.ca_file,
                connect_timeout_s=config.connect_timeout_s,
                command_timeout_s=config.command_timeout_s,
                max_connections=config.max_connections,
            )
        )
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tasks.cancel_scope.cancel()
        try:
            # Without the error of the body, which a task group would wrap in an ExceptionGroup; it goes on by itself.
            await self._tasks.__aexit__(None, None, None)
        finally:
            with anyio.move_on_after(_CLOSE_S, shield=True):
                await self._client.aclose()

    @property
    def name(self) -> str:
        """What events and errors call it."""
        return STORE

    async def epoch(self) -> str:
        """Return the name of the present contents; see `SharedStore.epoch`."""
        answer = await self.run(_EPOCH, keys=[self.key("epoch", "")], args=[secrets.token_hex(8), _EPOCH_TTL_MS])
        return bytes(answer[0]).decode()

    def key(self, kind: str, name: str, *parts: str) -> str:
        """Return a key; those of the same kind and name are on the same node of a cluster."""
        return ":".join((f"{self._config.prefix}:{{{kind}:{name}}}", *parts))

    async def run(self, script: str, *, keys: Sequence[str], args: Sequence[str | bytes | int] = ()) -> list[Any]:
        """Run one script, at once and undisturbed, and return its answer, strings as bytes.

        Args:
            script: Lua that returns an array; it finds the server's time in `now_us`.
            keys: what it reads and writes, all of the same kind and name.
            args: the rest that it has to know.

        Raises:
            StoreUnavailableError: if there was no answer, or one that says that it cannot be done now.
            StoreRefusedError: if it will not be done until somebody acts.

        Cancellation: the script was not run, or is run all the same.
        """
        question = _Question()
        await self._slots.acquire()
        self._tasks.start_soon(self._ask, question, script, keys, args)
        await question.answered.wait()
        if question.error is not None:
            raise question.error
        return question.answer

    async def _ask(
        self, question: _Question, script: str, keys: Sequence[str], args: Sequence[str | bytes | int]
    ) -> None:
        try:
            question.answer = await self._evaluate(script, keys, args)
        except Exception as error:  # noqa: BLE001 - handed to whoever asked
            question.error = _of_port(error)
        except BaseException:
            question.error = StoreUnavailableError("it was closed meanwhile", store=STORE)
            raise
        finally:
            self._slots.release()
            question.answered.set()

    async def _evaluate(self, script: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> list[Any]:
        source, digest = self._scripts.get(script) or self._prepare(script)
        try:
            answer = await self._client.execute_command("EVALSHA", digest, len(keys), *keys, *args)
        except NoScriptError:
            answer = await self._client.execute_command("EVAL", source, len(keys), *keys, *args)
        return cast("list[Any]", answer)

    def _prepare(self, script: str) -> tuple[str, str]:
        source = f"{self._time}\n{script}"
        digest = sha1(source.encode(), usedforsecurity=False).hexdigest()
        self._scripts[script] = source, digest
        return source, digest


def _of_port(error: Exception) -> Exception:
    meaning = translated(error)
    if meaning is None:
        return error
    meaning.__cause__ = error
    return meaning


_: type[SharedStore] = RedisStore
