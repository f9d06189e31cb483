"""What Redis' errors mean.

Responsibility: translate each of them once, the most specific first.
Guarantees: an error that passes by itself is a `StoreUnavailableError`; one that stays until somebody acts is a
    `StoreRefusedError`, whose message says what to do.
Not responsible for: a script that the server does not know: `holdfast.adapters.redis.store` sends it.
Sources: the error codes of https://redis.io/docs/latest/develop/reference/protocol-spec/ and of Redis 7.0's `server.c`.
"""

from __future__ import annotations

import ssl
from typing import Final

from redis import exceptions
from redis.asyncio.sentinel import MasterNotFoundError

from holdfast.ports.errors import StoreError, StoreRefusedError, StoreUnavailableError

__all__ = ["STORE", "translated"]

STORE: Final = "redis"

# An AuthenticationError is a ConnectionError and would pass for one that mends itself.
_REFUSALS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (exceptions.AuthenticationError, "mend shared.username and shared.password"),
    (exceptions.AuthorizationError, "mend shared.username and shared.password"),
    (exceptions.AuthenticationWrongNumberOfArgsError, "leave shared.username out for a server before Redis 6"),
    (exceptions.NoPermissionError, "let the user call EVAL, EVALSHA and what the scripts do on keys of shared.prefix"),
    (exceptions.ClusterCrossSlotError, "name it as a cluster"),
    (exceptions.MovedError, "name it as a cluster"),
    (exceptions.AskError, "name it as a cluster"),
    (exceptions.DataError, "this is not understood; use a Redis of version 7 or newer"),
)

_PASSING: Final[tuple[type[Exception], ...]] = (
    exceptions.BusyLoadingError,
    exceptions.ClusterError,  # CLUSTERDOWN and MASTERDOWN among them
    exceptions.ConnectionError,
    exceptions.OutOfMemoryError,  # keys expire
    exceptions.ReadOnlyError,  # a replica, until it is the primary or another one is found
    exceptions.RedisClusterException,
    exceptions.TimeoutError,
    exceptions.TryAgainError,
    TimeoutError,
    OSError,
)

# Those of which the driver knows no type of their own.
_PASSING_CODES: Final = ("BUSY ", "NOREPLICAS ", "UNKILLABLE ", "NOTBUSY ", "UNBLOCKED ")
_REFUSAL_CODES: Final = {
    "WRONGTYPE": "another program keeps something else under that key; change shared.prefix, or remove the key",
    "MISCONF": "the server cannot save to its disk; mend that",
}
_UNKNOWN: Final = "the server says no; mend what it says, or use a Redis of version 7 or newer"


def translated(error: Exception) -> StoreError | None:
    """Return what `error` means, or None if it is none of Redis' and none of the network's."""
    for candidate in _chain(error):
        if isinstance(candidate.__context__, ssl.SSLCertVerificationError):  # the driver names it as no cause
            return _refused(candidate.__context__, "mend the server's certificate, or shared.ca_file")
        for kind, remedy in _REFUSALS:
            if isinstance(candidate, kind):
                return _refused(candidate, remedy)
        if isinstance(candidate, exceptions.ResponseError) and not isinstance(candidate, _PASSING):
            return _answered(candidate)
    if isinstance(error, (*_PASSING, exceptions.RedisError)):
        return StoreUnavailableError(_text(error), store=STORE)
    return None


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error and its causes: a cluster's client wraps why no node could be asked."""
    causes: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in causes:
        causes.append(found)
        found = found.__cause__
    return causes


def _answered(error: exceptions.ResponseError) -> StoreError:
    text = str(error)
    if text.startswith(_PASSING_CODES):
        return StoreUnavailableError(_text(error), store=STORE)
    return _refused(error, _REFUSAL_CODES.get(text.split(" ", 1)[0], _UNKNOWN))


def _refused(error: BaseException, remedy: str) -> StoreRefusedError:
    return StoreRefusedError(f"{_text(error)}: {remedy}", store=STORE)


def _text(error: BaseException) -> str:
    if isinstance(error, MasterNotFoundError):  # its own text holds every option of the driver
        return "no sentinel that answers knows a primary of shared.service"
    return str(error).rstrip(".") or type(error).__name__
