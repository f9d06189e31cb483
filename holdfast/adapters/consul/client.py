"""A Consul agent, asked through whichever driver is installed as ``consul``.

Responsibility: the one place that knows the driver: calls in worker threads, a token and a timeout for each, and an
    error of ours for each of the agent's.
Guarantees: no call takes longer than its time, waiting for a thread included; every call says the token, also those
    that the driver of 2018 sends none with; the environment changes nothing; the same with py-consul and with
    python-consul 1.1.0: `tests/integration/test_consul_client.py`.
Not responsible for: what is kept in Consul: see the registry and the parameters beside it; asking again: the domain's.

A question that is cancelled is ended: its connection is shut down, and its thread is free at once. A change that is
cancelled is seen through first, which takes no longer than its time, so that nothing is still on its way to the agent
when the caller goes on to undo it.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import anyio
import anyio.lowlevel
import anyio.to_thread

from holdfast.adapters.consul.address import TOKEN_FORM, Address, check_agent, is_token
from holdfast.adapters.consul.exchange import Answered, Exchange, Response
from holdfast.ports.errors import ConfigurationError, StoreError, StoreRefusedError, StoreUnavailableError

try:
    import consul  # pyright: ignore[reportMissingTypeStubs] # it ships no types
except ImportError as error:
    raise ImportError(
        "holdfast.adapters.consul needs py-consul: pip install 'holdfast[consul]'", name="consul"
    ) from error

__all__ = ["ConsulClient", "Entries", "parse_index"]

T = TypeVar("T")
Entries = Sequence[Mapping[str, Any]]
"""What Consul sends as a list of objects, decoded and no further checked."""

_library: Final[Any] = consul
_NAME: Final = "consul"
_MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
_MAX_CHANGES_AT_ONCE: Final = 4
_MAX_QUESTIONS_AT_ONCE: Final = 32
_MAX_INDEX_DIGITS: Final = 20  # of the largest number of 64 bits
_WAIT_ADDED: Final = 1 / 16  # of the wait, by Consul itself, so that those who wait do not all wake at once
_NOT_ALLOWED: Final = ("Permission denied", "ACL not found", "ACL support disabled")
_UNKNOWN_CHECK: Final = ("does not have associated TTL", "Unknown check")
_PASSING: Final = frozenset({408, 425, 429})
_UNWELL: Final = frozenset({"warning", "critical", "maintenance"})


class _UnknownCheckError(Exception):
    """The agent knows no such check."""


class ConsulClient:
    """One agent. Opens nothing: each request has a connection of its own.

    Args:
        address: ``http://HOST:PORT``, or ``https://…``; the port is 8500 or 8501 when left out.
        token: what it is allowed by; None for none.
        read_token: returns the token, in place of `token`; called for each call, in a worker thread, so that it may
            change. It raises `ConfigurationError` where there is none.
        ca_file: whom the agent's certificate has to be signed by; None for those that the system trusts.
        connect_timeout_s: seconds to connect; default 1, unmeasured.
        timeout_s: seconds that any call may take, beyond what it waits for a change; default 10, unmeasured, because
            Consul itself holds a call for up to 7 s while it has no leader.
        section: what the settings are called in errors.

    Raises:
        ConfigurationError: the address, the token or a file cannot be used as given.
    """

    def __init__(  # noqa: PLR0913 - one for each part of an address
        self,
        address: str,
        *,
        token: str | None = None,
        read_token: Callable[[], str] | None = None,
        ca_file: Path | None = None,
        connect_timeout_s: float = 1.0,
        timeout_s: float = 10.0,
        section: str = "consul",
    ) -> None:
        check_agent(address, token=token, reads_token=read_token is not None, ca_file=ca_file, section=section)
        self._address = _address(address, ca_file, section)
        self._token = token
        self._read_token = read_token
        self._connect_timeout_s = connect_timeout_s
        self._timeout_s = timeout_s
        self._changes = anyio.CapacityLimiter(_MAX_CHANGES_AT_ONCE)
        self._questions = anyio.CapacityLimiter(_MAX_QUESTIONS_AT_ONCE)
        try:
            _driver(self._exchange(timeout_s))
        except _library.ConsulException as error:
            raise ConfigurationError(
                f"the installed python-consul reads the environment itself, {error}: unset that, or install py-consul",
                path=f"{section}.address",
            ) from error

    @property
    def name(self) -> str:
        """What errors and events call it."""
        return _NAME

    async def keys(self, prefix: str, *, index: int = 0, wait_s: float = 0.0) -> tuple[str, Entries]:
        """Return the index as it was sent, and the entries of all keys that begin with `prefix`; ``Value`` is bytes.

        Args:
            prefix: of the keys; does not begin with a slash.
            index: waits for a greater one; 0 waits for nothing.
            wait_s: for how many seconds at most.

        Raises:
            StoreUnavailableError: it does not answer, or cannot now.
            StoreRefusedError: it will not until somebody mends what the message says.

        Cancellation: ends the question.
        """
        options = _waiting(index, wait_s)
        return await self._ask(lambda driver: driver.kv.get(prefix, recurse=True, **options), wait_s)

    async def require_readable_key(self, key: str) -> None:
        """Raise if the token may not read `key`, there or not.

        Of what a token may not read, `keys` and `healthy` tell nothing: there seems to be less.

        Errors and cancellation: as of `keys`.
        """
        await self._ask(lambda driver: driver.http.get(_status_or_absent, f"/v1/kv/{key}"), 0.0)

    async def healthy(self, service: str, *, index: int = 0, wait_s: float = 0.0) -> tuple[str, Entries]:
        """Return the index as it was sent, and every instance of the service whose checks all pass.

        Args, errors and cancellation: as of `keys`.
        """
        options = _waiting(index, wait_s)
        return await self._ask(lambda driver: driver.health.service(service, passing=True, **options), wait_s)

    async def require_readable_service(self, service: str) -> None:
        """Raise if the token may not read `service`, there or not, or none of the nodes that its instances are on.

        Errors and cancellation: as of `keys`.
        """
        await self._ask(lambda driver: _see_service(driver, service), 0.0)

    async def register(self, definition: Mapping[str, object]) -> None:
        """Register a service with its checks, in place of any of the same id.

        Args:
            definition: as Consul's ``/v1/agent/service/register`` takes it.

        Raises:
            StoreUnavailableError: it did not answer, and may have done it or not.
            StoreRefusedError: it will not until somebody mends what the message says.

        Cancellation: waits until it has answered, for as long as any call may take.
        """
        # Not by the driver's method: that of 2018 knows no metadata.
        body = json.dumps(definition)
        await self._change(lambda driver: driver.http.put(_status, "/v1/agent/service/register", data=body))

    async def pass_ttl(self, check_id: str) -> bool:
        """Say that a check passes; return False if the agent knows no such check, as after it forgot us.

        Errors and cancellation: as of `register`.
        """
        try:
            return bool(await self._change(lambda driver: driver.agent.check.ttl_pass(check_id)))
        except _UnknownCheckError:
            return False

    async def deregister(self, service_id: str) -> None:
        """Remove a service and its checks; nothing happens where there is none.

        Errors and cancellation: as of `register`.
        """
        await self._change(lambda driver: driver.agent.service.deregister(service_id))

    async def _ask(self, work: Callable[[Any], tuple[str, object]], wait_s: float) -> tuple[str, Entries]:
        """Make a call that changes nothing, and end it when it is cancelled."""
        timeout_s = wait_s * (1 + _WAIT_ADDED) + self._timeout_s
        exchange = self._exchange(timeout_s)
        with anyio.move_on_after(timeout_s):
            try:
                index, found = await anyio.to_thread.run_sync(
                    _run, work, exchange, abandon_on_cancel=True, limiter=self._questions
                )
            finally:
                exchange.abort()
            return index, _entries(index, found)
        raise _too_slow(timeout_s)

    async def _change(self, work: Callable[[Any], T]) -> T:
        """Make a call that changes something, and see it through when it is cancelled."""
        timeout_s = self._timeout_s
        exchange = self._exchange(timeout_s)
        await anyio.lowlevel.checkpoint_if_cancelled()
        try:
            with anyio.move_on_after(timeout_s, shield=True):
                try:
                    return await anyio.to_thread.run_sync(
                        _run, work, exchange, abandon_on_cancel=True, limiter=self._changes
                    )
                finally:
                    exchange.abort()
            raise _too_slow(timeout_s)
        finally:
            await anyio.lowlevel.checkpoint_if_cancelled()

    def _said_token(self) -> str | None:
        """Return the token, read anew if it may change. In a worker thread."""
        if self._read_token is None:
            return self._token
        try:
            token = self._read_token().strip()
        except ConfigurationError as error:
            raise StoreRefusedError(str(error), store=_NAME) from None
        if not is_token(token):
            raise StoreRefusedError(f"its token {TOKEN_FORM}", store=_NAME)
        return token

    def _exchange(self, read_timeout_s: float) -> Exchange:
        return Exchange(
            self._address,
            token=self._said_token,
            connect_timeout_s=self._connect_timeout_s,
            read_timeout_s=read_timeout_s,
            max_answer_bytes=_MAX_ANSWER_BYTES,
        )


def parse_index(index: str) -> int | None:
    """Return an index as Consul means it, or None for one that makes no sense.

    Example:
        >>> parse_index("17"), parse_index("-1"), parse_index("soon"), parse_index("")
        (17, None, None, None)
    """
    return int(index) if index.isascii() and index.isdecimal() and len(index) <= _MAX_INDEX_DIGITS else None


def _address(url: str, ca_file: Path | None, section: str) -> Address:
    try:
        return Address.parse(url, lambda: ssl.create_default_context(cafile=ca_file))
    except OSError as error:
        raise ConfigurationError(
            f"{str(ca_file)!r} cannot be used: {error.strerror or error}", path=f"{section}.ca_file"
        ) from error


def _waiting(index: int, wait_s: float) -> Mapping[str, object]:
    return {"index": index, "wait": f"{wait_s:.3f}s"} if index and wait_s else {}


def _driver(exchange: Exchange) -> Any:  # noqa: ANN401 - it has no types
    driver = _library.Consul(host="127.0.0.1", port=8500)  # or it would ask the environment
    driver.http = exchange
    driver.token = None  # which it did ask the environment for
    return driver


def _run(work: Callable[[Any], T], exchange: Exchange) -> T:
    """Let the driver do the work, and say what went wrong in our words. In a worker thread."""
    try:
        return work(_driver(exchange))
    except StoreError:
        raise
    except Answered as answer:
        raise _refusal(answer) from None
    except ssl.SSLCertVerificationError as error:
        raise StoreRefusedError(f"its certificate is not trusted: {error.verify_message}", store=_NAME) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise StoreUnavailableError(f"does not answer: {reason}", store=_NAME) from error
    except (_library.ConsulException, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # A driver says what it cannot read in whichever way it fails.
        raise StoreUnavailableError("answered with what no agent sends", store=_NAME) from error


def _refusal(answer: Answered) -> StoreUnavailableError | StoreRefusedError | _UnknownCheckError:
    said = f"answered {answer.status}: {answer.said or 'nothing more'}"
    if any(text in answer.said for text in _UNKNOWN_CHECK):
        return _UnknownCheckError(said)
    if any(text in answer.said for text in _NOT_ALLOWED):
        return StoreRefusedError(f"{said}; see to its token and the policies of that", store=_NAME)
    if answer.status >= 500 or answer.status in _PASSING:
        return StoreUnavailableError(said, store=_NAME)
    return StoreRefusedError(said, store=_NAME)


def _status(response: Response) -> None:
    if response.code != 200:
        raise Answered(response.code, response.body)


def _status_or_absent(response: Response) -> tuple[str, object]:
    if response.code != 404:
        _status(response)
    return "0", []


def _see_service(driver: Any, service: str) -> tuple[str, object]:  # noqa: ANN401 - it has no types
    try:
        driver.http.get(_status_or_absent, f"/v1/agent/health/service/name/{service}", [("format", "text")])
    except Answered as answer:
        if answer.said not in _UNWELL:
            raise
    # The catalogue names services whose nodes may not be read, of which the list below holds no instance then. In this
    # order, so that an instance that has just come does not look like one that is not shown.
    _, services = driver.catalog.services()
    if service in services and not driver.health.service(service)[1]:
        raise StoreRefusedError(
            f"shows no instance of {service!r}, and there are some; see to its token and the nodes that it may read",
            store=_NAME,
        )
    return "0", []


def _entries(index: str, found: object) -> Entries:
    if found is None and index:
        return ()
    entries = cast("list[object]", found) if isinstance(found, list) else [None]
    if all(isinstance(entry, dict) for entry in entries):
        return cast(Entries, entries)  # JSON has no other keys than text
    raise StoreUnavailableError("answered with what no agent sends", store=_NAME)


def _too_slow(timeout_s: float) -> StoreUnavailableError:
    return StoreUnavailableError(f"did not answer within {timeout_s:g} s", store=_NAME)
