"""What the whole wired path takes of the processor, around a backend that costs nothing."""

from __future__ import annotations

import itertools
import sys
import time
from dataclasses import replace
from functools import partial
from typing import Final

import anyio
from harness import Row, measure_async, report

from holdfast import Completion, Message, Prompt, Request, Role, Settings, open_orchestrator

_BUDGETS_US: Final = (150.0, 60.0)
"""For a request that may share its call, and for one that does not; adr/0047 has why they are two."""

_measure = partial(measure_async, clock=time.process_time)


class _Echo:
    async def complete(self, prompt: Prompt) -> Completion:
        return Completion(text=prompt.messages[-1].content, model="echo-1")


async def _floor(loop: str) -> list[Row]:
    """Measure what AnyIO alone takes: a scope for the deadline, one for the attempt, and the task of a flight."""

    async def attempt(ended: anyio.Event) -> None:
        with anyio.move_on_after(30.0):
            await _nothing()
        ended.set()

    async def alone() -> None:
        with anyio.move_on_after(60.0):
            await attempt(anyio.Event())

    rows = [await _measure(f"AnyIO alone: two scopes, {loop}", alone)]
    async with anyio.create_task_group() as tasks:

        async def in_a_task() -> None:
            ended = anyio.Event()
            with anyio.move_on_after(60.0):
                tasks.start_soon(attempt, ended)
                await ended.wait()

        rows.append(await _measure(f"AnyIO alone: two scopes and a task, {loop}", in_a_task))
    return rows


async def _nothing() -> None: ...


async def _rows(loop: str) -> list[Row]:
    numbers = itertools.count()
    repeated = Request(messages=(Message(role=Role.USER, content="x" * 200),))
    alone = replace(repeated, no_cache=True)
    budgets = _BUDGETS_US if loop == "asyncio" else (None, None)
    async with open_orchestrator(Settings(), backends={"echo": _Echo()}) as service:

        async def submit_new() -> None:
            await service.submit(Request(messages=(Message(role=Role.USER, content=f"question {next(numbers)}"),)))

        async def submit_alone() -> None:
            await service.submit(alone)

        rows = [
            await _measure(f"submit, {loop}", submit_new, budget_p50_us=budgets[0]),
            await _measure(f"submit, not shared (no_cache), {loop}", submit_alone, budget_p50_us=budgets[1]),
            await _measure(f"submit, answered from the window, {loop}", lambda: service.submit(repeated)),
            *await _floor(loop),
        ]
        async with anyio.create_task_group() as tasks:

            async def fly(ended: anyio.Event) -> None:
                await submit_alone()
                ended.set()

            async def submit_in_a_task() -> None:
                ended = anyio.Event()
                tasks.create_task(fly(ended))
                await ended.wait()

            rows.append(await _measure(f"submit, not shared, in a task of AnyIO's, {loop}", submit_in_a_task))
    return rows


def main() -> bool:
    """Print the table and return whether every budget is kept."""
    rows = [row for loop in ("asyncio", "trio") for row in anyio.run(_rows, loop, backend=loop)]
    return report("The wired path, echo backend, time of the processor", rows, packages=("anyio", "trio"))


if __name__ == "__main__":
    sys.exit(not main())
