"""What a key costs next to JSON, and what one shared call costs next to a bare task that is awaited."""

from __future__ import annotations

import hashlib
import itertools
import json
import sys

import anyio
from harness import Row, measure, measure_async, report

from holdfast.adapters.system.clock import SystemClock
from holdfast.domain.deadline import Deadline
from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.deduplicator import Deduplicator
from holdfast.domain.flight import InProgress, New
from holdfast.domain.urgency import Urgency
from holdfast.ports.inference import Message, Parameters, Role
from holdfast.ports.service import Priority

# design.md, section 7, "dedup key of a 2 KB request" and "dedup check".
_KEY_P50_US = 5.0
_CHECK_P50_US = 500.0
_CHECK_P99_US = 1000.0

_SENTENCES = "Holdfast keeps a service standing while it calls things that fail. " * 40
_MESSAGES = (
    Message(role=Role.SYSTEM, content=_SENTENCES[:600]),
    Message(role=Role.USER, content=_SENTENCES[:500]),
    Message(role=Role.ASSISTANT, content=_SENTENCES[:500]),
    Message(role=Role.USER, content=_SENTENCES[:400]),
)
_PARAMETERS = Parameters(temperature=0.0, max_tokens=256)


def _canonical_key() -> DeduplicationKey:
    return DeduplicationKey.of(tenant="default", model="small", messages=_MESSAGES, parameters=_PARAMETERS)


def _json_key() -> bytes:
    request = {
        "schema": 1,
        "tenant": "default",
        "model": "small",
        "persona": None,
        "session": None,
        "messages": [{"role": message.role, "content": message.content} for message in _MESSAGES],
        "parameters": {
            "temperature": _PARAMETERS.temperature,
            "top_p": _PARAMETERS.top_p,
            "max_tokens": _PARAMETERS.max_tokens,
            "seed": _PARAMETERS.seed,
            "stop": _PARAMETERS.stop,
            "response_format": _PARAMETERS.response_format,
        },
    }
    return hashlib.sha256(json.dumps(request, sort_keys=True, separators=(",", ":")).encode()).digest()


def _key_rows() -> list[Row]:
    encoded = "".join(message.content for message in _MESSAGES).encode()
    return [
        measure("floor: SHA-256 of 2000 bytes", lambda: hashlib.sha256(encoded).digest()),
        measure("DeduplicationKey.of", _canonical_key, budget_p50_us=_KEY_P50_US),
        measure("json.dumps(sort_keys=True), SHA-256", _json_key),
    ]


def _core_rows(shared: Deduplicator[str], numbers: itertools.count[int]) -> list[Row]:
    def unique() -> DeduplicationKey:
        return DeduplicationKey(digest=next(numbers).to_bytes(32))

    def new_and_complete() -> None:
        found = shared.check_and_register(unique())
        if not isinstance(found, New):
            raise SystemExit("a key that was never used is known: this row would measure no flight")
        shared.complete(found.token, "answer")

    in_flight = unique()
    shared.check_and_register(in_flight)

    def join() -> None:
        if not isinstance(shared.check_and_register(in_flight), InProgress):
            raise SystemExit("the flight has ended: this row would measure no join")

    return [
        measure("check_and_register: New, and complete", new_and_complete),
        measure("check_and_register: InProgress", join),
    ]


async def _run_rows() -> list[Row]:
    clock = SystemClock()
    numbers = itertools.count()
    urgency = Urgency(Priority.NORMAL, Deadline.after(3600.0, clock))

    async def work(_: Urgency) -> str:
        return "answer"

    async def in_its_own_task() -> None:
        ended = anyio.Event()
        try:
            await work(urgency)
        finally:
            ended.set()

    async with anyio.create_task_group() as tasks:

        async def task_and_event() -> None:
            ended = anyio.Event()
            scope = anyio.CancelScope()

            async def call() -> None:
                with scope:
                    await work(urgency)
                ended.set()

            tasks.start_soon(call)
            await ended.wait()

        floors = [
            await measure_async("floor of a leader that calls in its own task", in_its_own_task),
            await measure_async("floor of a call in a task of its own", task_and_event),
        ]

    async with Deduplicator[str](clock=clock, size_of=len) as shared:
        known = DeduplicationKey(digest=b"known".ljust(32))
        await shared.run(known, work, urgency=urgency)

        async def called() -> None:
            await shared.run(DeduplicationKey(digest=next(numbers).to_bytes(32)), work, urgency=urgency)

        async def cached() -> None:
            await shared.run(known, work, urgency=urgency)

        return [
            *floors,
            await measure_async("run: CALLED", called, budget_p50_us=_CHECK_P50_US, budget_p99_us=_CHECK_P99_US),
            await measure_async("run: CACHED", cached, budget_p50_us=_CHECK_P50_US, budget_p99_us=_CHECK_P99_US),
            await measure_async(
                "run: 1000 identical callers at once", lambda: _herd(shared, numbers, urgency), calls=5
            ),
            *_core_rows(shared, numbers),
        ]


async def _herd(shared: Deduplicator[str], numbers: itertools.count[int], urgency: Urgency) -> None:
    key = DeduplicationKey(digest=next(numbers).to_bytes(32))

    async def work(_: Urgency) -> str:
        await anyio.lowlevel.checkpoint()
        return "answer"

    async with anyio.create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(lambda: shared.run(key, work, urgency=urgency))


def main() -> bool:
    """Print the tables and return whether every budget is kept."""
    kept = report("The key of a request of four messages, 2 KB", _key_rows())
    for backend in ("asyncio", "trio"):
        kept &= report(f"One shared call, {backend}", anyio.run(_run_rows, backend=backend), packages=("anyio", "trio"))
    return kept


if __name__ == "__main__":
    sys.exit(not main())
