"""The contract of shared answers, held by Redis."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
import redis

from holdfast.adapters.redis.answers import RedisAnswers
from holdfast.adapters.redis.store import RedisConfig, RedisStore
from holdfast.ports.answer_store import AnswerStore
from holdfast.testing.contracts.answer_store import AnswerHistory, AnswerStoreContract
from tests.fakes.redis_clock import InRedis
from tests.fakes.redis_server import RedisServer


class TestRedisAnswers(InRedis[AnswerStore], AnswerStoreContract):
    make = RedisAnswers


HISTORIES = 2000
STEPS = 30


@dataclass(slots=True)
class Question:
    script: str
    keys: Sequence[str]
    args: Sequence[str | bytes | int]
    answer: list[Any] | None = None
    answered: anyio.Event = field(default_factory=anyio.Event)


class BatchedRedis(RedisStore):
    """Sends what many histories ask in one go, each at its own time, which it finds beside its key."""

    def __init__(self, server: RedisServer) -> None:
        super().__init__(RedisConfig())
        self._client_of_batches = redis.Redis(port=server.port)
        self._digests: dict[str, str] = {}
        self.asked: list[Question] = []

    async def run(self, script: str, *, keys: Sequence[str], args: Sequence[str | bytes | int] = ()) -> list[Any]:
        question = Question(script, keys, args)
        self.asked.append(question)
        await question.answered.wait()
        assert question.answer is not None
        return question.answer

    def answer_all(self, now_us: dict[str, int]) -> None:
        """Ask Redis all that was asked, at the times of the keys."""
        asked, self.asked = self.asked, []
        with self._client_of_batches.pipeline(transaction=False) as batch:
            for question in asked:
                batch.set(f"{question.keys[0]}:time", now_us[question.keys[0]])
                batch.evalsha(self._digest(question.script), 1, *question.keys, *question.args)
            answers = batch.execute()[1::2]
        for question, answer in zip(asked, answers, strict=True):
            question.answer = answer
            question.answered.set()

    def _digest(self, script: str) -> str:
        if script not in self._digests:
            time = "local now_us = tonumber(redis.call('GET', KEYS[1] .. ':time'))"
            self._digests[script] = self._client_of_batches.script_load(f"{time}\n{script}")
        return self._digests[script]


@pytest.mark.slow
@pytest.mark.real_time
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_scripts_and_rule_agree_on_two_thousand_random_histories(redis_server: RedisServer) -> None:
    """Also while the server's clock is set back."""
    seed = random.SystemRandom().randrange(2**32)
    store = BatchedRedis(redis_server)
    answers = RedisAnswers(store)
    now_us: dict[str, int] = {}
    agreed = 0

    async def follow(number: int) -> None:
        nonlocal agreed
        history = AnswerHistory(
            number.to_bytes(32), seed=seed + number, now_us=1_800_000_000_000_000, is_set_back=number % 2 == 0
        )
        for _ in range(STEPS):
            step = history.step()
            expected = history.follow(step)
            now_us[store.key("answer", history.key.hex())] = history.now_us
            assert await step.ask(answers) == expected, f"seed {seed + number}"
        agreed += 1

    async with anyio.create_task_group() as tasks:
        for number in range(HISTORIES):
            tasks.start_soon(follow, number)
        for _ in range(STEPS):
            await anyio.wait_all_tasks_blocked()
            store.answer_all(now_us)

    assert agreed == HISTORIES
