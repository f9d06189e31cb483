"""Processes that share answers with each other, to be asked, stopped and killed by a test.

For each line of its standard input it forks one, which costs a millisecond where starting an interpreter would cost
seconds. A line is JSON: the settings, the file in which each call of the backend leaves a line, the seconds that a call
takes, the event loop, and the port of this machine where the test waits for the new process: to hear that it is ready,
and then to ask it, line by line.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import IO, Any

import anyio
import redis.asyncio  # noqa: F401 - imported once, before the processes are forked
import trio  # noqa: F401 - likewise

import holdfast.adapters.redis
import holdfast.adapters.sqlite  # noqa: F401 - likewise
from holdfast import Message, Role, Settings, open_orchestrator
from holdfast.application.orchestrator import Orchestrator
from holdfast.ports.inference import Completion, Prompt
from holdfast.ports.service import Request


class Backend:
    """Notes each call in a file that all processes share, and answers with its own number."""

    def __init__(self, calls: Path, seconds: float) -> None:
        self._calls = calls
        self._seconds = seconds

    async def complete(self, prompt: Prompt) -> Completion:
        line = f"{os.getpid()} {time.monotonic()}\n".encode()
        descriptor = os.open(self._calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, line)  # one write of a few bytes to a file opened so is never torn
        os.close(descriptor)
        await anyio.sleep(self._seconds)
        return Completion(text=f"by {os.getpid()}", model="m")


async def ask(service: Orchestrator, question: str, times: int) -> dict[str, Any]:
    """Ask the same so many times at once, and return how that ended."""
    replies: list[tuple[str, str]] = []
    errors: list[str] = []

    async def submit() -> None:
        try:
            reply = await service.submit(Request(messages=(Message(role=Role.USER, content=question),)))
            replies.append((reply.text, reply.disposition))
        except Exception as error:  # noqa: BLE001 - what the test looks at
            errors.append(repr(error))

    async with anyio.create_task_group() as tasks:
        for _ in range(times):
            tasks.start_soon(submit)
    return {"replies": replies, "errors": errors}


async def serve(given: dict[str, Any], test: IO[str]) -> None:
    """Answer questions until there are no more."""

    def say(what: object) -> None:
        test.write(f"{json.dumps(what)}\n")
        test.flush()

    backend = Backend(Path(given["calls"]), given["seconds"])
    async with open_orchestrator(Settings(**given["settings"]), backends={"a": backend}) as service:
        say(os.getpid())
        while line := await anyio.to_thread.run_sync(test.readline):
            asked = json.loads(line)
            if asked == "health":
                health = service.health()
                assert health.shared is not None
                assert health.shared_answers is not None
                answers = {name: getattr(health.shared_answers, name) for name in ("led", "told", "fenced", "alone")}
                say({"joined": health.shared.joined, **answers})
            else:
                say(await ask(service, **asked))


def main() -> None:
    """Fork until the test ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever has ended is forgotten
    for line in sys.stdin:
        given = json.loads(line)
        if os.fork():
            continue
        with socket.create_connection(("127.0.0.1", given["port"])) as connection, connection.makefile("rw") as test:
            anyio.run(serve, given, test, backend=given["loop"])
        return


if __name__ == "__main__":
    main()
