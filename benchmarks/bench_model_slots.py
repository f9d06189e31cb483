"""What using a loaded model costs, what changing models costs, and how an unload gives its memory back."""

from __future__ import annotations

import gc
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.lowlevel
from anyio.to_thread import run_sync
from harness import Row, measure, measure_async, report

from holdfast.adapters.inference.scripted import ScriptedBackend
from holdfast.adapters.inference.scripted_model import ScriptedModelLoader
from holdfast.adapters.memory.host_memory import FixedHostMemory
from holdfast.adapters.system.clock import SystemClock
from holdfast.adapters.system.memory import SystemMemory
from holdfast.domain.host_guard import HostGuard
from holdfast.domain.model_slot import ModelSlots
from holdfast.domain.slotted_backend import SlottedBackend
from holdfast.ports.inference import Prompt

_USE_P50_US = 3.0
_PROMPT = Prompt(messages=())
_MODEL_BYTES = 256 * 1024 * 1024
_HEAP_OBJECTS = 1_000_000
_TRIES = 7


def _loader(name: str, *, size_bytes: int = 1000, holds_memory: bool = False) -> ScriptedModelLoader:
    clock = SystemClock()
    backend = ScriptedBackend.repeating(name, "yes", clock=clock)
    return ScriptedModelLoader(name, backend, size_bytes=size_bytes, clock=clock, holds_memory=holds_memory)


def _slots(collect: Callable[[], object] = gc.collect) -> ModelSlots:
    return ModelSlots(guard=HostGuard(FixedHostMemory(None)), clock=SystemClock(), collect=collect)


async def _rows() -> list[Row]:
    first, second = _loader("first"), _loader("second")
    async with _slots(collect=lambda: None) as slots:

        async def use() -> None:
            async with slots.use(first):
                pass

        async def change() -> None:
            async with slots.use(second):
                pass
            async with slots.use(first):
                pass

        await use()
        bare, slotted = await first.load(), SlottedBackend(first, slots)
        return [
            await measure_async("use of a model that is loaded", use, budget_p50_us=_USE_P50_US),
            await measure_async("a call of a backend", lambda: bare.complete(_PROMPT)),
            await measure_async("a call of a SlottedBackend", lambda: slotted.complete(_PROMPT)),
            await measure_async("two changes of models that take no time", change, calls=200),
        ]


async def _longest_stall_ms(collect: Callable[[], Awaitable[object]]) -> float:
    """Return for how long the event loop ran nothing else."""
    longest_s = 0.0

    async def tick() -> None:
        nonlocal longest_s
        while True:
            before_s = time.perf_counter()
            await anyio.lowlevel.checkpoint()
            longest_s = max(longest_s, time.perf_counter() - before_s)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await anyio.sleep(0.05)
        longest_s = 0.0
        await collect()
        await anyio.sleep(0.05)
        tasks.cancel_scope.cancel()
    return longest_s * 1000


async def _collect_here() -> None:
    gc.collect()


async def _collect_in_a_thread() -> None:
    await run_sync(gc.collect)


async def _stalls() -> None:
    heap = [[number] for number in range(_HEAP_OBJECTS)]
    ways = {"on the event loop": _collect_here, "in a worker thread": _collect_in_a_thread}
    for name, collect in ways.items():
        stalls_ms = [await _longest_stall_ms(collect) for _ in range(_TRIES)]
        print(f"longest stall while {len(heap)} objects are collected {name}: {_spread(stalls_ms)} ms")


def _held_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def _returns() -> None:
    changed_ms: list[float] = []
    returned: list[float] = []
    async with _slots() as slots:
        for _ in range(_TRIES):
            async with slots.use(_loader("large", size_bytes=_MODEL_BYTES, holds_memory=True)):
                with_large_bytes = _held_bytes()
            before_s = time.perf_counter()
            async with slots.use(_loader("small")):
                changed_ms.append((time.perf_counter() - before_s) * 1000)
                returned.append((with_large_bytes - _held_bytes()) / _MODEL_BYTES * 100)
    print(f"a model of {_MODEL_BYTES} bytes is replaced in {_spread(changed_ms)} ms, collection included")
    print(f"of its bytes the process holds no more then: {_spread(returned)} %")


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f}, n = {len(values)})"


def main() -> bool:
    """Print the tables and return whether the budget is kept."""
    kept = report("Reading what memory is free", [measure("SystemMemory", SystemMemory().available_bytes, calls=200)])
    for backend in ("asyncio", "trio"):
        kept &= report(f"Model slots, {backend}", anyio.run(_rows, backend=backend), packages=("anyio", "trio"))
    print()
    for work in (_stalls, _returns):
        anyio.run(work)
    return kept


if __name__ == "__main__":
    sys.exit(not main())
