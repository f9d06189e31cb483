"""Callers who use `asyncio.timeout`, which cancels past AnyIO: afterwards every count is back where it was."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import anyio
import pytest

from holdfast.application.settings import Settings
from holdfast.domain.stream_outlet import StreamingConfig
from tests.fakes.service import Answering, ask, assert_nothing_is_held, opened

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)]

CALLERS = 300
SETTLE_S = 100.0


@pytest.mark.parametrize("streams", [False, True])
async def test_callers_cut_by_asyncio_itself_leave_nothing_behind(streams: bool) -> None:
    chance = random.Random(7)
    settings = Settings(max_in_flight=8, streaming=StreamingConfig(max_ahead_bytes=16))
    backend = Answering(delay_s=lambda _: chance.uniform(0.0, 2.0), text="word " * 20)
    ends: Counter[str] = Counter()
    async with opened({"answering": backend}, settings) as service:

        async def call(number: int) -> None:
            question = ask(f"question {number % 200}")
            await anyio.sleep(chance.uniform(0.0, 20.0))
            try:
                async with asyncio.timeout(chance.uniform(0.0, 4.0)):
                    if streams:
                        async with service.stream(question) as stream:
                            async for _ in stream:
                                await anyio.sleep(chance.uniform(0.0, 0.5))
                    else:
                        await service.submit(question)
                ends["answered"] += 1
            except TimeoutError:
                ends["cut"] += 1

        async with anyio.create_task_group() as tasks:
            for number in range(CALLERS):
                tasks.start_soon(call, number)
        await anyio.sleep(SETTLE_S)

        assert_nothing_is_held(service.health())
        assert service.health().requests.cancelled == ends["cut"]
    assert min(ends.values()) > CALLERS / 10
    assert backend.running == 0
