"""What each error of the driver means: for now, or until somebody acts."""

from __future__ import annotations

import ssl

import pytest
from redis import exceptions
from redis._parsers.base import BaseParser
from redis.asyncio.sentinel import MasterNotFoundError

from holdfast.adapters.redis.errors import translated
from holdfast.ports.errors import StoreRefusedError, StoreUnavailableError

PASSING: list[Exception] = [
    exceptions.ConnectionError("Error 111 connecting to 127.0.0.1:1."),
    exceptions.TimeoutError("Timeout reading from 127.0.0.1:1"),
    exceptions.MaxConnectionsError(),
    MasterNotFoundError("a long text with every option of the driver"),
    exceptions.SlotNotCoveredError("Slot 7 is not covered"),
    exceptions.RedisClusterException("no node can be reached"),
    exceptions.ClusterError("TTL exhausted."),
    exceptions.RedisError("anything else of the driver"),
    TimeoutError(),
    OSError("no route to host"),
]

REFUSED: list[Exception] = [
    exceptions.AuthorizationError("no"),
    exceptions.DataError("Invalid input"),
    exceptions.AuthenticationWrongNumberOfArgsError("wrong number of arguments for 'auth' command"),
]

ANSWERS_FOR_NOW = [
    "LOADING Redis is loading the dataset in memory",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "UNKILLABLE Sorry the script already executed write commands against the dataset.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "READONLY You can't write against a read only replica.",
    "NOREPLICAS Not enough good replicas to write.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "CLUSTERDOWN Hash slot not served",
    "CLUSTERDOWN The cluster is down",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "ERR max number of clients reached",
]

ANSWERS_UNTIL_SOMEBODY_ACTS = {
    "NOAUTH Authentication required.": "shared.password",
    "WRONGPASS invalid username-password pair or user is disabled.": "shared.password",
    "ERR invalid password": "shared.password",
    "NOPERM this user has no permissions to run the 'evalsha' command": "EVALSHA",
    "WRONGTYPE Operation against a key holding the wrong kind of value": "shared.prefix",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.": "disk",
    "MOVED 3999 127.0.0.1:6381": "cluster",
    "ASK 3999 127.0.0.1:6381": "cluster",
    "CROSSSLOT Keys in request don't hash to the same slot": "cluster",
    "ERR unknown command 'EVALSHA', with args beginning with: ": "version 7",
    "ERR Error running script (call to f_1): @user_script:1: attempt to compare nil": "version 7",
    "SOMETHING nobody has heard of": "version 7",
}


def parsed(answer: str) -> Exception:
    """Return what the driver raises for an answer of the server."""
    error: Exception = BaseParser.parse_error(answer)  # type: ignore[no-untyped-call] # not typed there
    return error


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_error_that_passes_by_itself_is_unavailable(error: Exception) -> None:
    assert isinstance(translated(error), StoreUnavailableError)


@pytest.mark.parametrize("error", REFUSED, ids=lambda error: type(error).__name__)
def test_error_that_stays_is_refused(error: Exception) -> None:
    assert isinstance(translated(error), StoreRefusedError)


@pytest.mark.parametrize("answer", ANSWERS_FOR_NOW)
def test_answer_that_passes_by_itself_is_unavailable(answer: str) -> None:
    assert isinstance(translated(parsed(answer)), StoreUnavailableError)


@pytest.mark.parametrize("answer", ANSWERS_UNTIL_SOMEBODY_ACTS)
def test_answer_that_stays_is_refused_with_the_remedy(answer: str) -> None:
    meaning = translated(parsed(answer))

    assert isinstance(meaning, StoreRefusedError)
    assert ANSWERS_UNTIL_SOMEBODY_ACTS[answer] in str(meaning)
    assert meaning.store == "redis"


def test_error_wrapped_by_the_client_of_a_cluster_is_refused_for_what_it_wraps() -> None:
    wrapped = exceptions.RedisClusterException("no node can be reached")
    wrapped.__cause__ = exceptions.AuthenticationError("WRONGPASS")

    assert isinstance(translated(wrapped), StoreRefusedError)


def test_error_whose_causes_go_in_a_circle_is_translated() -> None:
    one, other = exceptions.ConnectionError("one"), exceptions.ConnectionError("other")
    one.__cause__, other.__cause__ = other, one

    assert isinstance(translated(one), StoreUnavailableError)


def test_certificate_that_is_not_trusted_is_refused_whatever_the_driver_makes_of_it() -> None:
    wrapped = exceptions.ConnectionError("Error 1 connecting to 127.0.0.1:6379.")
    wrapped.__context__ = ssl.SSLCertVerificationError(1, "certificate verify failed")

    meaning = translated(wrapped)

    assert isinstance(meaning, StoreRefusedError)
    assert "certificate verify failed" in str(meaning)
    assert "shared.ca_file" in str(meaning)


def test_remedy_follows_what_the_server_says_without_its_full_stop() -> None:
    assert "Authentication required: mend" in str(translated(parsed("NOAUTH Authentication required.")))


def test_error_without_a_text_is_told_by_its_type() -> None:
    assert str(translated(exceptions.MaxConnectionsError())) == "redis: MaxConnectionsError"


def test_error_of_sentinels_does_not_repeat_the_options_of_the_driver() -> None:
    assert "option" not in str(translated(MasterNotFoundError("a long text with every option of the driver")))


def test_error_of_neither_redis_nor_the_network_is_left_as_it_is() -> None:
    assert translated(ValueError("a bug")) is None
