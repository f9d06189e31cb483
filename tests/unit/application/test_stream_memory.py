"""What readers hold who have stopped reading, each of a stream of its own."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager

import anyio
import pytest

from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import GuardSettings, Settings
from holdfast.domain.pool_config import PoolConfig
from holdfast.ports.inference import Completion, Deliver, Prompt
from tests.fakes import service

pytestmark = pytest.mark.anyio

READERS = 50
MOST_BYTES = 64 * 1024
LEFT_BYTES = 4 * 1024
"""Of each reader who has gone: the events that tell of it are kept for a while."""


class Endless:
    """Never stops."""

    async def complete(self, prompt: Prompt) -> Completion:
        raise AssertionError("it is streamed")

    async def stream(self, prompt: Prompt, deliver: Deliver) -> Completion:
        number = 0
        while True:
            await deliver(f"{number:>63} ")
            await anyio.lowlevel.checkpoint()  # so that its reader has stopped after one piece, and not after many
            number += 1


def opened() -> AbstractAsyncContextManager[Orchestrator]:
    settings = Settings(max_in_flight=READERS, guard=GuardSettings(pool=PoolConfig(max_size=READERS)))
    return service.opened({"endless": Endless()}, settings)


@pytest.fixture
def traced() -> Generator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def used_bytes() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.slow
async def test_readers_who_have_stopped_hold_64_kib_each_at_most_and_no_text_afterwards(traced: None) -> None:
    async with opened() as orchestrator:

        async def stop_after_one_piece(number: int) -> None:
            request = service.ask(f"question {number}")
            async with orchestrator.stream(request) as stream:
                await anext(aiter(stream))
                await anyio.sleep_forever()

        async def measured(readers: range) -> tuple[int, int]:
            before_bytes = used_bytes()
            async with anyio.create_task_group() as tasks:
                for number in readers:
                    tasks.start_soon(stop_after_one_piece, number)
                await anyio.wait_all_tasks_blocked()
                held_bytes = used_bytes() - before_bytes
                logs = orchestrator.health().streams
                tasks.cancel_scope.cancel()
            await anyio.wait_all_tasks_blocked()
            assert logs.log_bytes >= 0.9 * len(readers) * Settings().streaming.max_ahead_bytes
            return held_bytes // len(readers), used_bytes() - before_bytes

        await measured(range(READERS))  # whatever is made once
        each_bytes, left_bytes = await measured(range(READERS, 2 * READERS))

    assert each_bytes <= MOST_BYTES
    assert left_bytes <= READERS * LEFT_BYTES
