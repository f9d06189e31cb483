"""A backend that is reached over HTTP.

Responsibility: `StreamingBackend` for any server whose dialect is known.
Guarantees: an answer is whole or an error: bad JSON, no answer in it, or a stream without its end is never a success;
    what is delivered is delivered as it comes; a cancelled call closes its connection, also before the first piece.
Not responsible for: what the server is asked: see the dialects; connections: see
    `holdfast.adapters.inference.http.client`.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

from holdfast.adapters.inference.http.client import Exchange, HttpClient
from holdfast.adapters.inference.http.dialect import Dialect, PushedBackError, UnintelligibleError
from holdfast.adapters.inference.http.reading import object_from
from holdfast.adapters.inference.http.server_sent_events import EventReader, OversizedEventError
from holdfast.ports.errors import BackendProtocolError, BackendThrottledError
from holdfast.ports.inference import Completion, Deliver, Prompt, StreamingBackend

__all__ = ["HttpBackend"]

_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream"
_MAX_KEY_CHARS: Final = 255
"""The longest idempotency key that is sent as it is."""

_encoded: Final = json.JSONEncoder(separators=(",", ":")).encode


class HttpBackend:
    """Asks one server; any number of calls at once.

    Args:
        client: the server; whoever made it closes it.
        dialect: how it is asked.
        api_key: proves who asks; None sends none.
        always_streams: have answers streamed also where nobody reads them while they come. Some servers, llama-server
            among them, notice only then at once that their caller has left; adr/0038 has the price.
    """

    def __init__(
        self, client: HttpClient, dialect: Dialect, *, api_key: str | None = None, always_streams: bool = True
    ) -> None:
        self._client = client
        self._dialect = dialect
        self._always_streams = always_streams
        self._headers = {
            streams: {
                "content-type": _JSON,
                "accept": _EVENTS if streams else _JSON,
                "accept-encoding": "identity",
                "user-agent": "holdfast",
                **dialect.headers(api_key),
            }
            for streams in (False, True)
        }

    async def complete(self, prompt: Prompt) -> Completion:
        """Return the whole answer.

        Raises:
            BackendError: as `HttpClient.post` says; `BackendProtocolError` also if it is no answer, or too long.

        Cancellation: closes the connection.
        """
        return await self._answer(prompt, _drop if self._always_streams else None)

    async def stream(self, prompt: Prompt, deliver: Deliver) -> Completion:
        """Hand the answer to `deliver` as it comes, and return the whole of it.

        A server that knows no better answers in one piece.

        Raises:
            BackendError: as `complete`; `BackendProtocolError` also if the end of the stream is missing.
            Exception: whatever `deliver` raises.

        Cancellation: closes the connection, also while it waits in `deliver`.
        """
        return await self._answer(prompt, deliver)

    async def _answer(self, prompt: Prompt, deliver: Deliver | None) -> Completion:
        try:
            async with await self._ask(prompt, streams=deliver is not None) as exchange:
                if deliver is not None and exchange.media_type != _JSON:
                    return await self._listen(exchange, prompt, deliver)
                completion = await self._read(exchange, prompt)
                if deliver is not None:
                    await deliver(completion.text)
                return completion
        except (UnintelligibleError, OversizedEventError) as error:
            raise self._unintelligible(f"its answer cannot be understood: {error}") from error
        except PushedBackError as error:
            raise BackendThrottledError(backend=self._client.name) from error

    async def _ask(self, prompt: Prompt, *, streams: bool) -> Exchange:
        headers = self._headers[streams]
        if prompt.idempotency_key is not None:
            headers = headers | {"idempotency-key": _header_value(prompt.idempotency_key)}
        if prompt.trace is not None:
            headers = headers | prompt.trace.headers()
        # ASCII, because half of a surrogate pair can be written in no other way.
        body = _encoded(self._dialect.body(prompt, streams=streams)).encode("ascii")
        return await self._client.post(self._dialect.path, headers=headers, body=body, idempotent=prompt.idempotent)

    async def _listen(self, exchange: Exchange, prompt: Prompt, deliver: Deliver) -> Completion:
        self._require(exchange, _EVENTS)
        config = self._client.config
        events = EventReader(max_bytes=config.max_line_bytes)
        listening = self._dialect.listen(prompt)
        stream_bytes = 0
        while not listening.is_complete:
            part = await exchange.read()
            stream_bytes += len(part)
            if not part:
                raise self._unintelligible("its stream ended without its end")
            if stream_bytes > config.max_stream_bytes:
                raise self._unintelligible(
                    f"its stream is longer than http.max_stream_bytes, {config.max_stream_bytes}"
                )
            text = "".join([listening.take(event) for event in events.feed(part)])
            del part  # or it would be held for as long as the reader takes
            if listening.size_bytes > config.max_reply_bytes:
                raise self._unintelligible(f"its answer is longer than http.max_reply_bytes, {config.max_reply_bytes}")
            if text:
                await deliver(text)
        completion = listening.completion()
        await exchange.linger()
        return completion

    async def _read(self, exchange: Exchange, prompt: Prompt) -> Completion:
        self._require(exchange, _JSON)
        body = await exchange.read_all(max_bytes=self._client.config.max_reply_bytes)
        return self._dialect.read(object_from(body), prompt)

    def _require(self, exchange: Exchange, media_type: str) -> None:
        if exchange.media_type != media_type:
            raise self._unintelligible(f"it does not answer with {media_type}")

    def _unintelligible(self, message: str) -> BackendProtocolError:
        return BackendProtocolError(message, backend=self._client.name)


async def _drop(_: str) -> None:
    """Take a piece that nobody reads."""


def _header_value(key: str) -> str:
    """Return `key`, or what stands for it where a header cannot hold it."""
    if key.isascii() and key.isprintable() and len(key) <= _MAX_KEY_CHARS:
        return key
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


_: type[StreamingBackend] = HttpBackend
