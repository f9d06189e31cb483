"""The official client, as anybody would use it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai

__all__ = ["openai_client"]


@asynccontextmanager
async def openai_client(
    address: str, *, key: str = "nothing", timeout_s: float = 30.0
) -> AsyncIterator[openai.AsyncOpenAI]:
    """Give a client that does not try again by itself, so that a test sees every error."""
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0, timeout=timeout_s) as client:
        yield client
