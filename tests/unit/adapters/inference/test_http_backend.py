"""Backends over HTTP against a server that answers byte for byte as the test says."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketStream

from holdfast.adapters.inference.anthropic import AnthropicDialect
from holdfast.adapters.inference.http import HttpBackend, HttpBackendProvider, HttpConfig
from holdfast.adapters.inference.http.dialect import Dialect
from holdfast.adapters.inference.http.server_sent_events import EventReader
from holdfast.adapters.inference.openai import OpenAIDialect
from holdfast.ports.errors import (
    BackendError,
    BackendProtocolError,
    BackendThrottledError,
    BackendUnavailableError,
)
from holdfast.ports.inference import Completion, InferenceBackend, Message, Prompt, Role, StreamingBackend
from holdfast.ports.trace import TraceContext
from tests.fakes.chat_server import (
    TEXT,
    anthropic_events,
    events,
    openai_answer,
    openai_events,
    openai_piece,
)
from tests.fakes.http_driver import DRIVERS, Driver
from tests.fakes.http_server import Asked, FakeServer, Handler, chunked, http, json_answer, serving

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

QUESTION = Prompt(messages=(Message(role=Role.USER, content="why?"),))
OPENAI = OpenAIDialect()
ANTHROPIC = AnthropicDialect(model="claude", max_tokens=64)
PIECES = (TEXT[:7], TEXT[7:18], TEXT[18:])
TYPES = {False: "application/json", True: "text/event-stream"}
DIALECTS = [
    pytest.param(OPENAI, openai_events(*PIECES), id="openai"),
    pytest.param(ANTHROPIC, anthropic_events(*PIECES), id="anthropic"),
]


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Driver:
    driver: Driver = request.param
    return driver


@pytest.fixture
def anyio_backend(driver: Driver) -> str:
    return driver.loop


@asynccontextmanager
async def asking(
    driver: Driver,
    handler: Handler | bytes,
    dialect: Dialect = OPENAI,
    *,
    always_streams: bool = False,
    **config: Any,  # noqa: ANN401 - numbers
) -> AsyncGenerator[tuple[StreamingBackend, FakeServer]]:
    async def answer(_: Asked, stream: SocketStream) -> None:
        assert isinstance(handler, bytes)
        await stream.send(handler)

    async with serving(answer if isinstance(handler, bytes) else handler) as server:
        provider = HttpBackendProvider(
            "b",
            server.url,
            dialect,
            api_key="key",
            config=HttpConfig(**config),
            always_streams=always_streams,
            open_transport=driver.open_transport,
        )
        backend = await provider.create()
        assert isinstance(backend, StreamingBackend)
        try:
            yield backend, server
        finally:
            await provider.close(backend)


async def streamed(backend: StreamingBackend, prompt: Prompt = QUESTION) -> tuple[list[str], Completion]:
    pieces: list[str] = []

    async def deliver(piece: str) -> None:
        pieces.append(piece)

    return pieces, await backend.stream(prompt, deliver)


@pytest.mark.parametrize(("dialect", "content"), DIALECTS)
def test_stream_cut_at_every_byte_says_the_same(dialect: Dialect, content: bytes) -> None:
    said: set[tuple[str, Completion]] = set()
    for at in range(len(content) + 1):
        reader, listening = EventReader(max_bytes=1000), dialect.listen(QUESTION)
        taken = [listening.take(event) for part in (content[:at], content[at:]) for event in reader.feed(part)]
        assert listening.is_complete
        said.add(("".join(taken), listening.completion()))

    [(text, completion)] = said
    assert text == completion.text == TEXT


@pytest.mark.parametrize(("dialect", "content"), DIALECTS)
async def test_stream_that_comes_in_two_parts_gives_the_same_answer(
    driver: Driver, dialect: Dialect, content: bytes
) -> None:
    cut_at = itertools.cycle([*range(0, len(content), 17), len(content)])

    async def in_two_parts(_: Asked, stream: SocketStream) -> None:
        at = next(cut_at)
        await stream.send(chunked(content[:at], ends=False))
        await anyio.lowlevel.checkpoint()
        await stream.send(chunked(content[at:]).partition(b"\r\n\r\n")[2])

    async with asking(driver, in_two_parts, dialect) as (backend, server):
        answers = [await streamed(backend) for _ in range(len(content) // 17 + 2)]

        assert server.connections == 1
    assert {completion for _, completion in answers} == {answers[0][1]}
    assert {"".join(pieces) for pieces, _ in answers} == {TEXT}


@pytest.mark.parametrize(("dialect", "content"), DIALECTS)
async def test_stream_that_ends_anywhere_before_its_end_is_an_error(
    driver: Driver, dialect: Dialect, content: bytes
) -> None:
    # Also where nothing but the empty line behind the end is missing.
    places = [*range(0, len(content) - 1, 41), content.rfind(b"data: "), len(content) - 2, len(content) - 1]
    cut_at = iter(places)

    async def end_early(_: Asked, stream: SocketStream) -> None:
        await stream.send(chunked(content[: next(cut_at)]))

    async with asking(driver, end_early, dialect) as (backend, server):
        for _ in places:
            with pytest.raises(BackendProtocolError, match="ended without its end"):
                await streamed(backend)

    assert len(server.asked) == len(places)


@pytest.mark.parametrize(("dialect", "content"), DIALECTS)
async def test_stream_whose_connection_breaks_is_unavailable_whatever_came(
    driver: Driver, dialect: Dialect, content: bytes
) -> None:
    for at in (0, len(content) // 2, content.rfind(b"data: ")):

        async def break_off(_: Asked, stream: SocketStream, at: int = at) -> None:
            await stream.send(chunked(content[:at], ends=False))
            await stream.aclose()

        async with asking(driver, break_off, dialect) as (backend, server):
            with pytest.raises(BackendUnavailableError):
                await streamed(backend)

            assert len(server.asked) == 1


async def test_stream_delivers_each_piece_as_it_comes(driver: Driver) -> None:
    go_on = anyio.Event()
    seen: list[str] = []

    async def in_steps(_: Asked, stream: SocketStream) -> None:
        await stream.send(chunked(events(openai_piece("first")), ends=False))
        await go_on.wait()
        await stream.send(chunked(openai_events(" second")).partition(b"\r\n\r\n")[2])

    async def deliver(piece: str) -> None:
        seen.append(piece)
        go_on.set()

    async with asking(driver, in_steps) as (backend, _):
        with anyio.fail_after(10):
            completion = await backend.stream(QUESTION, deliver)

    assert seen == ["first", " second"]
    assert completion.text == "first second"


async def test_stream_holds_the_server_back_while_its_reader_is_slow(driver: Driver) -> None:
    sent = 0

    async def flood(_: Asked, stream: SocketStream) -> None:
        nonlocal sent
        await stream.send(chunked(events(openai_piece("x")), ends=False))
        piece = events(openai_piece("x" * 10_000))
        while True:
            await stream.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            sent += len(piece)

    async def deliver(_: str) -> None:
        await anyio.sleep_forever()

    async with asking(driver, flood) as (backend, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(backend.stream, QUESTION, deliver)
            before = -1
            while before != sent:
                before = sent
                await anyio.sleep(0.1)
            tasks.cancel_scope.cancel()
        await server.wait_left(within_s=1.0)

    assert sent < 30_000_000


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("has_begun", [False, True])
async def test_call_that_is_left_closes_its_connection_within_a_second(
    driver: Driver, streams: bool, has_begun: bool
) -> None:
    half = chunked(events(openai_piece("x")) if streams else b"{", content_type=TYPES[streams], ends=False)

    async def begin(_: Asked, stream: SocketStream) -> None:
        if has_begun:
            await stream.send(half)

    async with asking(driver, begin) as (backend, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(streamed if streams else backend.complete, *((backend,) if streams else (QUESTION,)))
            while not server.asked:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
        await server.wait_left(within_s=1.0)

        assert server.open_connections == 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http(200, b"<html>secret</html>", content_type="text/html"), "does not answer with application/json"),
        (http(200, b"{}"), "does not answer with application/json"),
        (http(200, b"secret", content_type="application/json"), "no JSON"),
        (http(200, b'["secret"]', content_type="application/json"), "no JSON object"),
        (http(200, b"[" * 100_000, content_type="application/json"), "no JSON"),
        (http(200, b'{"n": ' + b"9" * 10_000 + b"}", content_type="application/json"), "no JSON"),
        (http(200, b"\xff\xfe", content_type="application/json"), "no JSON"),
        (http(200, b"", content_type="application/json"), "no JSON"),
        (json_answer({"error": {"message": "secret"}}), "an error"),
        (json_answer({"choices": []}), "no choices"),
        (json_answer({}), "no choices"),
        (json_answer(openai_answer(), 206), "status 206"),
        (json_answer({}, 302, location="http://secret"), "leads elsewhere"),
        (http(200, b"\x1f\x8b", content_type="application/json", content_encoding="gzip"), "compressed"),
    ],
)
async def test_complete_answer_that_is_none_is_a_protocol_error(driver: Driver, answer: bytes, words: str) -> None:
    async with asking(driver, answer) as (backend, server):
        with pytest.raises(BackendProtocolError, match=words) as caught:
            await backend.complete(QUESTION)

    assert "secret" not in str(caught.value)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("content", "content_type", "words"),
    [
        (b"<html>secret</html>", "text/html", "does not answer with text/event-stream"),
        (b"data: secret\n\n", "text/event-stream", "no JSON"),
        (b'data: {"error": {"type": "server_error"}}\n\n', "text/event-stream", "an error server_error"),
        (b"data: [DONE]\n\n", "text/event-stream", "no choices"),
        (b"", "text/event-stream", "ended without its end"),
        (b"data: [DONE]", "text/event-stream", "ended without its end"),
    ],
)
async def test_stream_that_is_none_is_a_protocol_error(
    driver: Driver, content: bytes, content_type: str, words: str
) -> None:
    async with asking(driver, chunked(content, content_type=content_type)) as (backend, _):
        with pytest.raises(BackendProtocolError, match=words) as caught:
            await streamed(backend)

    assert "secret" not in str(caught.value)


async def test_stream_error_behind_the_first_piece_comes_after_it(driver: Driver) -> None:
    broken = anthropic_events("one").replace(b'{"type": "content_block_stop", "index": 0}', b'{"type": "error"}')
    overloaded = anthropic_events("one").replace(
        b'{"type": "content_block_stop", "index": 0}', b'{"type": "error", "error": {"type": "overloaded_error"}}'
    )
    kinds: list[tuple[bytes, type[BackendError]]] = [
        (broken, BackendProtocolError),
        (overloaded, BackendThrottledError),
    ]
    for content, kind in kinds:
        async with asking(driver, chunked(content), ANTHROPIC) as (backend, _):
            with pytest.raises(kind):
                await streamed(backend)


@pytest.mark.parametrize("answer", [chunked(openai_events("ye", "s")), json_answer(openai_answer("yes"))])
async def test_complete_by_a_stream_is_the_same_answer(driver: Driver, answer: bytes) -> None:
    async with asking(driver, answer, always_streams=True) as (backend, server):
        completion = await backend.complete(QUESTION)

    assert server.asked[0].document["stream"] is True
    assert (completion.text, completion.usage.output_tokens) == ("yes", 3)


async def test_complete_by_a_stream_that_is_cut_is_an_error(driver: Driver) -> None:
    content = chunked(openai_events("yes").removesuffix(b"data: [DONE]\n\n"))
    async with asking(driver, content, always_streams=True) as (backend, _):
        with pytest.raises(BackendProtocolError, match="ended without its end"):
            await backend.complete(QUESTION)


async def test_stream_from_a_server_that_answers_in_one_piece_is_one_piece(driver: Driver) -> None:
    async with asking(driver, json_answer(openai_answer("yes"))) as (backend, _):
        pieces, completion = await streamed(backend)

    assert (pieces, completion.text) == (["yes"], "yes")


@pytest.mark.parametrize(
    ("config", "content", "words"),
    [
        ({"max_line_bytes": 1000}, events(openai_piece("x" * 1000)), "more than 1000 bytes in one line"),
        ({"max_line_bytes": 1000}, b":" + b"x" * 1001, "more than 1000 bytes in one line"),
        ({"max_reply_bytes": 50}, events(*[openai_piece("x" * 20)] * 3), "longer than http.max_reply_bytes, 50"),
        ({"max_line_bytes": 500, "max_stream_bytes": 500}, b": ping\n" * 100, "longer than http.max_stream_bytes, 500"),
    ],
)
async def test_stream_beyond_a_bound_is_refused(
    driver: Driver, config: dict[str, Any], content: bytes, words: str
) -> None:
    async with asking(driver, chunked(content), **config) as (backend, _):
        with pytest.raises(BackendProtocolError, match=words):
            await streamed(backend)


async def test_complete_beyond_its_bound_is_refused(driver: Driver) -> None:
    async with asking(driver, json_answer(openai_answer("x" * 3_000_000)), max_reply_bytes=1000) as (backend, server):
        with pytest.raises(BackendProtocolError, match="longer than 1000 bytes"):
            await backend.complete(QUESTION)
        await server.wait_left()


async def test_stale_connection_is_replaced_and_nobody_notices(driver: Driver) -> None:
    async def every_second_dies(asked: Asked, stream: SocketStream) -> None:
        if sum(one.connection == asked.connection for one in server.asked) > 1:
            await stream.aclose()
        else:
            await stream.send(json_answer(openai_answer()))

    async with asking(driver, every_second_dies) as (backend, server):
        for _ in range(10):
            assert (await backend.complete(QUESTION)).text == TEXT

        assert len(server.asked) > 10  # some met one that died, and were asked again


async def test_stale_connection_of_what_must_not_be_asked_twice_is_a_failure(driver: Driver) -> None:
    async def second_dies(_: Asked, stream: SocketStream) -> None:
        if len(server.asked) > 1:
            await stream.aclose()
        else:
            await stream.send(json_answer(openai_answer()))

    once = replace(QUESTION, idempotent=False)
    async with asking(driver, second_dies) as (backend, server):
        await backend.complete(once)
        with pytest.raises(BackendUnavailableError):
            await backend.complete(once)

        assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("key", "is_sent_as_it_is"),
    [
        ("run-7", True),
        ("k" * 255, True),
        ("k" * 256, False),
        ("a\r\nx-evil: 1", False),
        ("schlüssel", False),
        ("\ud800", False),
    ],
)
async def test_idempotency_key_is_sent_or_what_stands_for_it(driver: Driver, key: str, is_sent_as_it_is: bool) -> None:
    async with asking(driver, json_answer(openai_answer())) as (backend, server):
        for _ in range(2):
            await backend.complete(replace(QUESTION, idempotency_key=key))

    first, second = (asked.headers["idempotency-key"] for asked in server.asked)
    assert first == second
    assert (first == key) is is_sent_as_it_is
    assert "x-evil" not in server.asked[0].headers


async def test_trace_goes_out_with_the_call(driver: Driver) -> None:
    trace = TraceContext(trace_id="a" * 32, span_id="b" * 16, is_sampled=True, state="v=1")
    async with asking(driver, json_answer(openai_answer())) as (backend, server):
        await backend.complete(replace(QUESTION, trace=trace))
        await backend.complete(QUESTION)

    with_trace, without = server.asked
    assert with_trace.headers["traceparent"] == f"00-{'a' * 32}-{'b' * 16}-01"
    assert with_trace.headers["tracestate"] == "v=1"
    assert "traceparent" not in without.headers


async def test_headers_say_what_is_sent_and_what_is_taken(driver: Driver) -> None:
    async with asking(driver, chunked(openai_events("yes"))) as (backend, server):
        await streamed(backend)

    headers = server.asked[0].headers
    assert headers["authorization"] == "Bearer key"
    assert headers["content-type"] == "application/json"
    assert headers["accept"] == "text/event-stream"
    assert headers["accept-encoding"] == "identity"
    assert "idempotency-key" not in headers


async def test_question_with_half_of_a_surrogate_pair_is_sent_as_json(driver: Driver) -> None:
    async with asking(driver, json_answer(openai_answer())) as (backend, server):
        await backend.complete(Prompt(messages=(Message(role=Role.USER, content="\ud800 ü"),)))

    assert json.loads(server.asked[0].body)["messages"][0]["content"] == "\ud800 ü"


async def test_key_is_in_no_text_of_the_backend_and_of_its_errors(driver: Driver) -> None:
    answer = json_answer({"error": {"message": "wrong key: key", "type": "key"}}, 401)
    async with asking(driver, answer) as (backend, _):
        assert isinstance(backend, HttpBackend)
        with pytest.raises(BackendError) as caught:
            await backend.complete(QUESTION)

    secret = "Bearer key"  # noqa: S105 - opens nothing
    told = [repr(caught.value), str(caught.value), repr(caught.value.__dict__), repr(backend)]
    assert [text for text in told if secret in text or "wrong key" in text] == []


class TestProvider:
    async def test_resources_share_one_client_from_the_first_to_the_last(self, driver: Driver) -> None:
        opened: list[str] = []

        def open_transport(base_url: str, config: HttpConfig) -> Any:  # noqa: ANN401 - a transport
            opened.append(base_url)
            return driver.open_transport(base_url, config)

        async with serving(_answering(json_answer(openai_answer()))) as server:
            provider = HttpBackendProvider("b", server.url, OPENAI, open_transport=open_transport)
            backends = [await provider.create() for _ in range(3)]
            for backend in backends:
                await backend.complete(QUESTION)
            assert (len(opened), server.connections) == (1, 1)

            for backend in backends[:2]:
                await provider.close(backend)
            assert server.open_connections == 1
            await provider.close(backends[2])
            await server.wait_left()

            again: InferenceBackend = await provider.create()
            await again.complete(QUESTION)
            await provider.close(again)

        assert len(opened) == 2

    async def test_resource_is_good_for_another_lease_after_any_call(self, driver: Driver) -> None:
        provider = HttpBackendProvider("b", "http://127.0.0.1:1", OPENAI, open_transport=driver.open_transport)
        backend = await provider.create()
        with pytest.raises(BackendUnavailableError):
            await backend.complete(QUESTION)

        assert provider.resettable
        assert await provider.validate(backend)
        await provider.reset(backend)
        await provider.close(backend)


def _answering(content: bytes) -> Handler:
    async def handle(_: Asked, stream: SocketStream) -> None:
        await stream.send(content)

    return handle
