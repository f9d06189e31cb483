"""Several processes in one: each with its own link and its own side of shared answers, over one store in memory."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import anyio

from holdfast.adapters.memory.answers import MemoryAnswers
from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.shared_answers import SharedAnswers, SharedAnswersConfig
from holdfast.domain.store_link import StoreLink
from holdfast.ports.answer_store import AnswerClaim, AnswerStore, Busy, Told, Won
from holdfast.ports.errors import StoreUnavailableError
from holdfast.ports.inference import Usage
from holdfast.ports.service import Disposition, Reply
from holdfast.ports.statistics import SharedAnswerStatistics
from holdfast.testing import VirtualClock
from tests.fakes.events import Listener

__all__ = ["CONFIG", "KEY", "OTHER", "Calls", "Place", "Process", "assert_adds_up", "open_process", "reply"]

T = TypeVar("T")

KEY: Final = DeduplicationKey(digest=b"k" * 32)
OTHER: Final = DeduplicationKey(digest=b"o" * 32)
CONFIG: Final = SharedAnswersConfig()
_numbers = itertools.count()


def reply(text: str = "42", **more: Any) -> Reply:  # noqa: ANN401 - any field of a reply
    fields: dict[str, Any] = {
        "text": text,
        "backend": "a",
        "model": "a-1",
        "disposition": Disposition.CALLED,
        "attempts": 1,
        "queue_s": 0.0,
        "backend_s": 0.5,
        "usage": Usage(input_tokens=3, output_tokens=2),
        "citations": (),
        "request_id": None,
    }
    return Reply(**fields | more)


class Calls:
    """A backend that all processes call: answers after `seconds`, or raises; counts, also how many run at once."""

    def __init__(self, *, seconds: float = 1.0, error: BaseException | None = None, text: str = "42") -> None:
        self.seconds = seconds
        self.error = error
        self.text = text
        self.begun = 0
        self.running = 0
        self.most_running = 0
        self.cancelled = 0

    async def __call__(self) -> Reply:
        self.begun += 1
        number = self.begun
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await anyio.sleep(self.seconds)
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        if self.error is not None:
            raise self.error
        return reply(self.text, attempts=number)


class Place:
    """The store of all processes, as one of them sees it.

    Attributes:
        answers: what it keeps; put another one there to have lost everything.
        failing: makes every question fail.
        deaf: never answers; the question is not heard.
        mute: never answers; the question is heard.
        asked: the questions that were begun, by name.
    """

    name = "place"

    def __init__(self, answers: AnswerStore) -> None:
        self.answers = answers
        self.failing = False
        self.deaf = False
        self.mute = False
        self.asked: list[str] = []

    async def epoch(self) -> str:
        await self._ask("epoch", anyio.lowlevel.checkpoint)
        return "1"

    async def claim(self, claim: AnswerClaim) -> Told | Won | Busy:
        return await self._ask("claim", lambda: self.answers.claim(claim))

    async def extend(self, key: bytes, *, token: int, lease_s: float) -> bool:
        return await self._ask("extend", lambda: self.answers.extend(key, token=token, lease_s=lease_s))

    async def settle(self, key: bytes, *, token: int, outcome: bytes, keep_s: float, tell_s: float) -> bool:
        return await self._ask(
            "settle",
            lambda: self.answers.settle(key, token=token, outcome=outcome, keep_s=keep_s, tell_s=tell_s),
        )

    async def release(self, key: bytes, *, claimant: str) -> None:
        await self._ask("release", lambda: self.answers.release(key, claimant=claimant))

    async def _ask(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        self.asked.append(name)
        if self.failing:
            raise StoreUnavailableError("is away", store=self.name)
        if self.deaf:
            await anyio.sleep_forever()
        answer = await work()
        if self.mute:
            await anyio.sleep_forever()
        return answer


@dataclass(kw_only=True)
class Process:
    """One of them."""

    answers: SharedAnswers
    link: StoreLink
    place: Place
    told: Listener

    async def run(self, calls: Callable[[], Awaitable[Reply]], key: DeduplicationKey = KEY) -> Reply:
        return await self.answers.run(key, calls)

    @property
    def counted(self) -> SharedAnswerStatistics:
        return self.answers.statistics()


@asynccontextmanager
async def open_process(
    store: AnswerStore | None = None,
    config: SharedAnswersConfig = CONFIG,
    *,
    window_s: float = 300.0,
    joined: bool = True,
    heard: bool = True,
) -> AsyncGenerator[Process]:
    """Open one process; `joined` says whether it has found the store, `heard` whether anybody hears its events."""
    clock, told = VirtualClock(), Listener()
    place = Place(MemoryAnswers(clock=clock) if store is None else store)
    place.failing = not joined
    link = StoreLink(place, clock=clock, random=lambda: 0.5)
    answers = SharedAnswers(
        place,
        link,
        config,
        window_s=window_s,
        instance=f"process{next(_numbers)}",
        clock=clock,
        random=lambda: 0.5,
        events=told if heard else None,
    )
    async with link, answers:
        yield Process(answers=answers, link=link, place=place, told=told)
    assert_adds_up(answers.statistics())
    assert (answers.statistics().waiting, answers.statistics().holding) == (0, 0)


def assert_adds_up(s: SharedAnswerStatistics) -> None:
    """Assert the equations of the statistics."""
    assert s.asked == s.waiting + s.led + s.alone + s.found + s.joined + s.failed + s.left
    assert s.led == s.holding + s.told + s.released + s.fenced + s.unsaid
    assert min(s.waiting, s.holding) >= 0
