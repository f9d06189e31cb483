"""What a request takes while it is inside, which is what the memory ceiling charges it: the figures of ADR 0018.

Traced allocations of a few hundred requests at once, all of them with a backend, or all but one waiting for admission.
"""

from __future__ import annotations

import gc
import platform
import sys
import tracemalloc
from importlib.metadata import version

import anyio

from holdfast import Message, Orchestrator, PoolConfig, Request, Role, Settings, open_orchestrator
from holdfast.application.settings import GuardSettings, ScriptedSettings
from holdfast.domain.memory_ceiling import charge_bytes

REQUESTS = 500
_PATIENCE_S = 60.0


def _inside(orchestrator: Orchestrator) -> int:
    counted = orchestrator.health().admission
    return counted.waiting + counted.limit.in_flight


async def _bytes_of_one(text_bytes: int, max_in_flight: int) -> float:
    settings = Settings(
        max_in_flight=max_in_flight,
        backends={"hanging": ScriptedSettings(kind="scripted", fault="hang")},
        guard=GuardSettings(pool=PoolConfig(max_size=REQUESTS, max_waiters=REQUESTS)),
    )
    requests = [
        Request(messages=(Message(role=Role.USER, content=f"{number}".ljust(text_bytes, "?")),))
        for number in range(REQUESTS)
    ]
    async with open_orchestrator(settings) as orchestrator:
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            async with anyio.create_task_group() as tasks:
                for request in requests:
                    tasks.start_soon(orchestrator.submit, request)
                with anyio.fail_after(_PATIENCE_S):
                    while _inside(orchestrator) < REQUESTS:  # noqa: ASYNC110 - nothing tells it
                        await anyio.sleep(0.1)
                await anyio.sleep(1.0)  # until those that were let in have reached their backend
                gc.collect()
                after, _ = tracemalloc.get_traced_memory()
                tasks.cancel_scope.cancel()
        finally:
            tracemalloc.stop()
    return (after - before) / REQUESTS


def main() -> bool:
    """Print the table and return whether no request takes more than it is charged beyond its texts."""
    print(f"\nMemory of one request inside  (CPython {platform.python_version()}, anyio {version('anyio')})")
    most = 0.0
    for backend in ("asyncio", "trio"):
        for where, max_in_flight in (("with a backend", REQUESTS), ("waiting for admission", 1)):
            for text_bytes in (100, 100_000):
                took = anyio.run(_bytes_of_one, text_bytes, max_in_flight, backend=backend)
                most = max(most, took)
                print(f"  {backend:<8} {where:<22} {text_bytes:>7} bytes of text: {took:>8.0f} bytes beyond it")
    kept = most <= charge_bytes(0)
    print(f"  charged beyond the text: {charge_bytes(0)} bytes: {'kept' if kept else 'MISSED'}")
    return kept


if __name__ == "__main__":
    sys.exit(not main())
