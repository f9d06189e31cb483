"""One exchange, over connections that do as the test says, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from holdfast.adapters.inference.http import HttpClient, HttpConfig
from holdfast.adapters.inference.http.transport import (
    BrokenConnectionError,
    Incoming,
    MalformedAnswerError,
    SlowConnectError,
    TransportError,
    UnreachableError,
)
from holdfast.ports.errors import (
    BackendAuthenticationError,
    BackendError,
    BackendProtocolError,
    BackendThrottledError,
    BackendTimeoutError,
    BackendUnavailableError,
)
from holdfast.testing import sweep_cancellation

pytestmark = pytest.mark.anyio

CONFIG = HttpConfig(
    connect_timeout_s=2.0, first_byte_timeout_s=10.0, idle_timeout_s=5.0, total_timeout_s=30.0, max_reply_bytes=100
)

Part = bytes | float | Exception
"""What a body consists of: bytes, pauses in seconds, and how it breaks off."""


class Answer:
    """One answer; what `come` holds of its body is there before anybody waits for it."""

    def __init__(self, *parts: Part, status: int = 200, come: tuple[Part, ...] = (), **headers: str) -> None:
        self.status = status
        self._come = list(come)
        self._parts = list(parts)
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.is_closed = False
        self.has_ended = False

    def header(self, name: str) -> str | None:
        return self._headers.get(name.lower())

    def read_nowait(self) -> bytes:
        assert not self.is_closed
        match self._come.pop(0) if self._come else b"":
            case bytes() as part:
                return part
            case Exception() as error:
                raise error
            case pause_s:
                raise AssertionError(pause_s)

    async def read(self) -> bytes:
        assert not self.is_closed
        await anyio.lowlevel.checkpoint()
        while self._parts:
            match self._parts.pop(0):
                case bytes() as part:
                    return part
                case Exception() as error:
                    raise error
                case pause_s:
                    await anyio.sleep(pause_s)
        return b""

    async def aclose(self) -> None:
        self.is_closed = True


class Lines:
    """Connections: each call gets the next answer, or error, after its delay."""

    def __init__(self, *answers: Answer | Exception, delay_s: float = 0.0) -> None:
        self._answers = list(answers)
        self._delay_s = delay_s
        self.fresh: list[bool] = []
        self.given: list[Answer] = []

    async def post(self, path: str, *, headers: Mapping[str, str], body: bytes, fresh: bool) -> Incoming:
        self.fresh.append(fresh)
        await anyio.sleep(self._delay_s)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        self.given.append(answer)
        return answer

    async def aclose(self) -> None:
        return


async def asked(lines: Lines, *, config: HttpConfig = CONFIG, idempotent: bool = True) -> bytes:
    client = HttpClient("b", lines, config=config, unix_s=lambda: 0.0)
    async with await client.post("/x", headers={}, body=b"", idempotent=idempotent) as exchange:
        return await exchange.read_all(max_bytes=config.max_reply_bytes)


async def test_post_gives_the_body_and_closes_the_answer() -> None:
    lines = Lines(Answer(b"one ", b"two"))

    assert await asked(lines) == b"one two"
    assert lines.given[0].is_closed
    assert lines.fresh == [False]


@pytest.mark.parametrize(
    ("open_lines", "phase", "timeout_s", "after_s"),
    [
        (lambda: Lines(SlowConnectError("slow"), delay_s=2.0), "connect", 2.0, 2.0),
        (lambda: Lines(Answer(b"x"), delay_s=10.5), "first byte", 10.0, 10.0),
        (lambda: Lines(Answer(b"x", 5.5, b"y")), "idle", 5.0, 5.0),
        (lambda: Lines(Answer(*(b"x", 4.5) * 10)), "total", 30.0, 30.0),
        (lambda: Lines(Answer(b"x", 5.5, status=500), delay_s=9.0), None, None, 14.0),
    ],
    ids=["connect", "first byte", "idle", "total", "body of a failure"],
)
async def test_each_time_that_is_over_is_an_error_of_its_own(
    open_lines: Callable[[], Lines], phase: str | None, timeout_s: float | None, after_s: float
) -> None:
    lines = open_lines()
    began_s = anyio.current_time()

    with pytest.raises(BackendError) as caught:
        await asked(lines)

    assert anyio.current_time() - began_s == pytest.approx(after_s)
    assert getattr(caught.value, "phase", None) == phase
    assert getattr(caught.value, "timeout_s", None) == timeout_s
    assert isinstance(caught.value, BackendTimeoutError if phase else BackendUnavailableError)
    assert all(answer.is_closed for answer in lines.given)


async def test_times_that_are_just_kept_are_no_error() -> None:
    assert await asked(Lines(Answer(4.9, b"x", 4.9, b"y", 4.9, b"z"), delay_s=9.9)) == b"xyz"


async def test_what_has_come_already_is_read_first_and_without_waiting() -> None:
    client = HttpClient("b", Lines(Answer(b"three", come=(b"one", b"two"))), config=CONFIG)
    async with await client.post("/x", headers={}, body=b"", idempotent=True) as exchange:
        reading = exchange.read()
        with pytest.raises(StopIteration) as ended:
            reading.send(None)

        assert ended.value.value == b"one"
        assert await exchange.read_all(max_bytes=8) == b"twothree"


async def test_what_has_come_already_can_be_too_much() -> None:
    with pytest.raises(BackendProtocolError, match="longer than 100 bytes"):
        await asked(Lines(Answer(come=(b"x" * 101, AssertionError("read on")))))


async def test_time_in_which_nobody_reads_counts_neither_as_idle_nor_in_total() -> None:
    client = HttpClient("b", Lines(Answer(b"x", 4.0, b"y")), config=CONFIG)
    async with await client.post("/x", headers={}, body=b"", idempotent=True) as exchange:
        first = await exchange.read()
        await anyio.sleep(1000.0)

        assert (first, await exchange.read(), await exchange.read()) == (b"x", b"y", b"")


async def test_total_time_is_also_that_of_a_first_try_on_a_stale_connection() -> None:
    stale = BrokenConnectionError("cut", is_stale=True)
    config = HttpConfig(connect_timeout_s=1, first_byte_timeout_s=10, idle_timeout_s=5, total_timeout_s=10)
    began_s = anyio.current_time()

    with pytest.raises(BackendTimeoutError) as caught:
        await asked(Lines(stale, Answer(b"x"), delay_s=6.0), config=config)

    assert caught.value.phase == "total"
    assert anyio.current_time() - began_s == pytest.approx(10.0)


async def test_stale_connection_is_replaced_once_by_a_fresh_one() -> None:
    lines = Lines(BrokenConnectionError("cut", is_stale=True), Answer(b"x"))

    assert await asked(lines) == b"x"
    assert lines.fresh == [False, True]


@pytest.mark.parametrize(
    ("errors", "idempotent"),
    [
        ([BrokenConnectionError("cut")], True),
        ([BrokenConnectionError("cut", is_stale=True)], False),
        ([BrokenConnectionError("cut", is_stale=True), BrokenConnectionError("cut", is_stale=True)], True),
        ([BrokenConnectionError("cut", is_stale=True), UnreachableError("gone")], True),
        ([UnreachableError("gone")], True),
    ],
)
async def test_connection_that_breaks_in_any_other_way_is_a_failure(errors: list[Exception], idempotent: bool) -> None:
    lines = Lines(*errors, Answer(b"x"))

    with pytest.raises(BackendUnavailableError):
        await asked(lines, idempotent=idempotent)

    assert len(lines.fresh) == len(errors)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BrokenConnectionError("cut", is_stale=True), BackendUnavailableError),
        (MalformedAnswerError("what came is no HTTP"), BackendProtocolError),
    ],
)
@pytest.mark.parametrize("has_come", [False, True])
async def test_body_that_breaks_off_is_not_asked_for_again(
    error: TransportError, kind: type[BackendError], has_come: bool
) -> None:
    lines = Lines(Answer(come=(b"x", error)) if has_come else Answer(b"x", error), Answer(b"x"))

    with pytest.raises(kind) as caught:
        await asked(lines)

    assert caught.value.__cause__ is error
    assert lines.fresh == [False]
    assert lines.given[0].is_closed


async def test_head_that_is_no_http_is_a_protocol_error() -> None:
    with pytest.raises(BackendProtocolError, match="no HTTP"):
        await asked(Lines(MalformedAnswerError("what came is no HTTP")))


async def test_reply_as_long_as_it_may_be_passes_and_one_byte_more_is_refused() -> None:
    assert len(await asked(Lines(Answer(b"x" * 60, b"x" * 40)))) == 100
    with pytest.raises(BackendProtocolError, match="longer than 100 bytes"):
        await asked(Lines(Answer(b"x" * 60, b"x" * 41, AssertionError("read on"))))


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "x"])
async def test_compressed_answer_is_refused_and_not_read(encoding: str) -> None:
    lines = Lines(Answer(AssertionError("read"), content_encoding=encoding))

    with pytest.raises(BackendProtocolError, match="compressed"):
        await asked(lines)

    assert lines.given[0].is_closed


async def test_answer_that_says_that_it_is_not_compressed_is_taken() -> None:
    assert await asked(Lines(Answer(b"x", content_encoding="Identity"))) == b"x"


async def test_failure_is_told_with_what_its_head_and_its_body_say() -> None:
    body = b'{"error": {"code": "insufficient_quota"}}'

    with pytest.raises(BackendThrottledError) as caught:
        await asked(Lines(Answer(body, status=429, retry_after="7")))

    assert (caught.value.retry_after_s, caught.value.retry_allowed) == (7.0, False)


@pytest.mark.parametrize(
    "parts", [(b"x" * 70_000,), (b"x", BrokenConnectionError("cut")), (6.0, b"x"), (b"x", MalformedAnswerError("bad"))]
)
async def test_failure_whose_body_is_of_no_use_is_told_by_its_status(parts: tuple[Any, ...]) -> None:
    lines = Lines(Answer(*parts, status=401))

    with pytest.raises(BackendAuthenticationError, match="status 401"):
        await asked(lines)

    assert lines.given[0].is_closed


@pytest.mark.parametrize(
    ("parts", "waits_s"), [((), 0.0), ((BrokenConnectionError("cut"),), 0.0), ((0.05,), 0.05), ((60.0,), 0.1)]
)
async def test_linger_waits_a_moment_for_the_end_and_ignores_how_it_comes(
    parts: tuple[float | BrokenConnectionError, ...], waits_s: float
) -> None:
    client = HttpClient("b", Lines(Answer(*parts)), config=CONFIG)
    began_s = anyio.current_time()
    async with await client.post("/x", headers={}, body=b"", idempotent=True) as exchange:
        await exchange.linger()

    assert anyio.current_time() - began_s == pytest.approx(waits_s)


async def test_cancelled_at_any_checkpoint_closes_every_answer() -> None:
    every: list[Lines] = []

    async def scenario() -> None:
        every.append(Lines(BrokenConnectionError("cut", is_stale=True), Answer(0.1, b"x", 0.1, b"y"), delay_s=0.1))
        await asked(every[-1])

    async def check() -> None:
        assert all(answer.is_closed for answer in every[-1].given)

    assert await sweep_cancellation(scenario, check) > 3


@pytest.mark.parametrize("raises", [ValueError("own"), KeyError("own")])
async def test_error_of_the_block_passes_through_and_the_answer_is_closed(raises: Exception) -> None:
    lines = Lines(Answer(b"x"))
    client = HttpClient("b", lines, config=CONFIG)

    with pytest.raises(type(raises)) as caught:
        async with await client.post("/x", headers={}, body=b"", idempotent=True):
            raise raises

    assert caught.value is raises
    assert lines.given[0].is_closed


def test_media_type_is_without_parameters_and_in_lower_case() -> None:
    from holdfast.adapters.inference.http.client import Exchange  # noqa: PLC0415 - for this one test

    nobodys: Any = None

    assert Exchange(Answer(content_type="Text/HTML; charset=x"), "b", nobodys).media_type == "text/html"
    assert Exchange(Answer(), "b", nobodys).media_type == ""
