"""A service with every mechanism turned on, and the load that meets each of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from typing import Final

import anyio

from holdfast.adapters.inference.scripted_model import ScriptedModelLoader
from holdfast.adapters.memory.host_memory import FixedHostMemory
from holdfast.adapters.memory.registry import MemoryRegistry
from holdfast.application.container import Model, Registry
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.settings import Settings
from holdfast.ports.errors import BackendThrottledError, BackendUnavailableError, HoldfastError
from holdfast.ports.inference import Completion, InferenceBackend, Message, Prompt, Role, Usage
from holdfast.ports.retrieval import Retriever
from holdfast.ports.service import Priority, Request
from holdfast.testing import VirtualClock
from tests.fakes.registry import instance
from tests.fakes.service import Shelf
from tests.fakes.service import opened as opened_over

__all__ = ["EVERYTHING", "Flaky", "load", "opened"]

EVERYTHING: Final = Settings.model_validate(
    {
        "timeout_s": 20.0,
        "max_in_flight": 6,
        "adaptive_limit": {"initial_limit": 6},
        "tenant_rate_limit": {"requests_per_minute": 600, "tokens_per_minute": 60_000},
        "admission": {"max_waiting": 30, "weights": {"small": 2.0}, "overload_after_s": 3.0, "overload_timeout_s": 2.0},
        "sessions": {"max_bytes": 8192, "max_total_bytes": 65536, "idle_s": 30.0},
        "streaming": {"stall_timeout_s": 1.0},
        "routing": {"strategy": "fastest"},
        "prompts": {"terse": "Answer in one word."},
        "personas": {"terse": {"prompt": "terse", "triggers": ["briefly"]}},
        "validators": {"words": {"kind": "pattern", "must_match": "[a-z]", "action": "repair"}},
        "models": {"max_idle_s": 2.0, "wait_timeout_s": 2.0, "load_timeout_s": 3.0},
        "guard": {
            "attempt_timeout_s": 5.0,
            "hedge": {"min_samples": 20, "max_samples": 200},
            "rate_limit": {"requests_per_minute": 1200, "tokens_per_minute": 200_000},
            "pool": {"max_size": 4, "max_waiters": 8, "acquire_timeout_s": 2.0},
        },
    }
)
"""Everything that a setting can turn on, and bounds that are low enough to be met."""


class Flaky:
    """Takes its time, and fails, pushes back, hangs or says what no validator lets through, by chance."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    async def complete(self, prompt: Prompt) -> Completion:
        fate = self._chance.random()
        await anyio.sleep(1000.0 if fate < 0.02 else self._chance.uniform(0.0, 1.0))
        if fate < 0.12:
            raise BackendUnavailableError("by chance", backend="flaky")
        if fate < 0.15:
            raise BackendThrottledError(backend="flaky", retry_after_s=1.0)
        text = "!?" if fate < 0.2 else "words"
        return Completion(text=text, model="flaky-1", usage=Usage(input_tokens=len(prompt.messages), output_tokens=2))


def opened(
    seed: int,
    settings: Settings = EVERYTHING,
    *,
    wrap_backend: Callable[[InferenceBackend], InferenceBackend] = lambda backend: backend,
    wrap_retriever: Callable[[Retriever], Retriever] = lambda retriever: retriever,
) -> AbstractAsyncContextManager[Orchestrator]:
    """Open the whole path over two flaky backends, one of which has to be loaded, with all chance drawn from `seed`."""
    chance = random.Random(seed)
    one, two = wrap_backend(Flaky(chance)), wrap_backend(Flaky(chance))
    loader = ScriptedModelLoader("two", two, size_bytes=1000, clock=VirtualClock(), delay_s=1.0)
    return opened_over(
        {"one": one, "two": Model(loader=loader, guard=settings.guard)},
        settings,
        random=chance.random,
        retriever=wrap_retriever(Shelf(delay_s=0.05)),
        host_memory=FixedHostMemory(None),
        registry=Registry(services=MemoryRegistry(clock=VirtualClock()), instance=instance()),
    )


async def load(
    service: Orchestrator,
    *,
    seed: int,
    requests: int,
    cancel_ratio: float = 0.0,
    halfway: Callable[[], object] = lambda: None,
) -> Counter[str]:
    """Put `requests` to the service over 30 s: alike, in sessions, as streams; return how they ended."""
    chance = random.Random(seed)
    ends: Counter[str] = Counter()
    sessions = [await service.sessions.create(tenant="small") for _ in range(3)]

    async def ask(number: int) -> None:
        request = _request(chance, number, sessions)
        streams, gone_after_s = chance.random() < 0.3, chance.uniform(0.0, 2.0)
        leaves, starts_s = chance.random() < cancel_ratio, chance.uniform(0.0, 30.0)
        await anyio.sleep(starts_s)
        with anyio.move_on_after(gone_after_s if leaves else 1000.0) as scope:
            try:
                if streams:
                    async with service.stream(request) as stream:
                        async for _ in stream:
                            await anyio.sleep(0.1)
                else:
                    await service.submit(request)
                ends["answered"] += 1
            except HoldfastError as error:
                ends[type(error).__name__] += 1
        ends["left"] += scope.cancelled_caught

    async with anyio.create_task_group() as tasks:
        for number in range(requests):
            tasks.start_soon(ask, number)
        await anyio.sleep(15.0)
        halfway()
    for session_id in sessions:
        with suppress(HoldfastError):
            await service.sessions.delete(session_id, tenant="small")
    return ends


def _request(chance: random.Random, number: int, sessions: list[str]) -> Request:
    text = f"question {number}" if chance.random() < 0.7 else f"question {number % 5}"
    if chance.random() < 0.2:
        text = f"briefly, {text}"
    request = Request(
        messages=(Message(role=Role.USER, content=text),),
        tenant=chance.choice(["small", "large", "large", "large"]),
        priority=chance.choice(list(Priority)),
    )
    if chance.random() < 0.1:
        return replace(request, tenant="small", session_id=chance.choice(sessions))
    return replace(request, no_cache=True) if chance.random() < 0.2 else request
