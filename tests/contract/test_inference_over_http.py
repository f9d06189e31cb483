"""The contract of backends, held by both dialects over both drivers on a server in the same process."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from holdfast.adapters.inference.anthropic import AnthropicDialect
from holdfast.adapters.inference.http.aiohttp_transport import AiohttpTransport
from holdfast.adapters.inference.http.dialect import Dialect
from holdfast.adapters.inference.http.httpx_transport import HttpxTransport
from holdfast.adapters.inference.http.provider import HttpBackendProvider, OpenTransport
from holdfast.adapters.inference.openai import OpenAIDialect
from holdfast.ports.inference import InferenceBackend
from holdfast.testing.contracts.inference_backend import InferenceBackendContract
from tests.fakes.chat_server import answer_in_kind
from tests.fakes.http_server import serving


class _OverHttp(InferenceBackendContract):
    open_transport: OpenTransport = HttpxTransport

    @pytest.fixture
    def dialect(self) -> Dialect:
        return OpenAIDialect()

    @pytest.fixture(params=[True, False], ids=["streaming", "whole"])
    def always_streams(self, request: pytest.FixtureRequest) -> bool:
        always_streams: bool = request.param
        return always_streams

    @pytest.fixture
    async def backend(self, dialect: Dialect, always_streams: bool) -> AsyncGenerator[InferenceBackend]:
        async with serving(answer_in_kind) as server:
            provider = HttpBackendProvider(
                "fake",
                server.url,
                dialect,
                always_streams=always_streams,
                open_transport=type(self).open_transport,
            )
            backend = await provider.create()
            yield backend
            await provider.close(backend)
        assert server.open_connections == 0


@pytest.mark.real_time
class TestOpenAIOverHttpx(_OverHttp):
    pass


@pytest.mark.real_time
class TestAnthropicOverHttpx(_OverHttp):
    @pytest.fixture
    def dialect(self) -> Dialect:
        return AnthropicDialect(model="fake-1", max_tokens=64)


@pytest.mark.real_time
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
class TestOpenAIOverAiohttp(_OverHttp):
    open_transport = AiohttpTransport


@pytest.mark.real_time
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
class TestAnthropicOverAiohttp(_OverHttp):
    open_transport = AiohttpTransport

    @pytest.fixture
    def dialect(self) -> Dialect:
        return AnthropicDialect(model="fake-1", max_tokens=64)
