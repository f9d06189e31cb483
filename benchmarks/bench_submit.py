"""What the whole wired path costs, around a backend that costs nothing."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace

import anyio
from harness import Row, measure_async, report

from holdfast import Completion, Message, Prompt, Request, Role, Settings, open_orchestrator


class _Echo:
    async def complete(self, prompt: Prompt) -> Completion:
        return Completion(text=prompt.messages[-1].content, model="echo-1")


async def _rows(loop: str) -> list[Row]:
    numbers = itertools.count()
    repeated = Request(messages=(Message(role=Role.USER, content="x" * 200),))
    alone = replace(repeated, no_cache=True)
    async with open_orchestrator(Settings(), backends={"echo": _Echo()}) as service:

        async def submit_new() -> None:
            await service.submit(Request(messages=(Message(role=Role.USER, content=f"question {next(numbers)}"),)))

        return [
            await measure_async(f"submit, {loop}", submit_new, budget_p50_us=60.0 if loop == "asyncio" else None),
            await measure_async(f"submit, not shared (no_cache), {loop}", lambda: service.submit(alone)),
            await measure_async(f"submit, answered from the window, {loop}", lambda: service.submit(repeated)),
        ]


def main() -> bool:
    """Print the table and return whether every budget is kept."""
    rows = [row for loop in ("asyncio", "trio") for row in anyio.run(_rows, loop, backend=loop)]
    return report("The wired path, echo backend", rows, packages=("anyio", "trio"))


if __name__ == "__main__":
    sys.exit(not main())
