"""Processes that share a breaker, to be asked, stopped and killed by a test.

The argument is JSON: the settings, the folder in which the peer notes its calls and is told whether it is ill, and for
each process the seconds that a call takes, how many seconds its clocks are off, and two open files. Everything is
imported once, then each process is forked: it says its number when it is ready, and answers each line of the one file
in the other.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

import anyio
from dependency_injector import providers

from holdfast import Message, Role, Settings
from holdfast.adapters.inference.provider import SharedBackendProvider
from holdfast.adapters.system.clock import SystemClock
from holdfast.application.container import Backend, Container
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.wiring import open_container
from holdfast.ports.errors import BackendUnavailableError, BreakerOpenError
from holdfast.ports.events import Event
from holdfast.ports.inference import Completion, Prompt
from holdfast.ports.service import Request


class Peer:
    """Notes when each call begins and ends in a file that all processes share; fails while there is a file ``ill``."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self._folder = folder
        self._seconds = seconds

    async def complete(self, prompt: Prompt) -> Completion:
        self._note("begin")
        try:
            await anyio.sleep(self._seconds)
            if (self._folder / "ill").exists():
                raise BackendUnavailableError("is ill", backend="peer")
        finally:
            self._note("end")
        return Completion(text="well", model="m")

    def _note(self, what: str) -> None:
        descriptor = os.open(self._folder / "calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{what}\n".encode())  # one write of a few bytes to a file opened so is never torn
        os.close(descriptor)


class Off(SystemClock):
    """A clock that is so many seconds off."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self._seconds


class Log:
    """Notes when which event was told, on the clock that all processes of a machine have in common."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, float]] = []

    def emit(self, event: Event) -> None:
        self.heard.append((type(event).__name__, time.monotonic()))


async def call(service: Orchestrator, times: int) -> dict[str, int]:
    """Make so many calls at once, and return how they ended."""
    ended: Counter[str] = Counter()

    async def submit(number: int) -> None:
        question = f"{os.getpid()} {time.monotonic()} {number}"
        try:
            reply = await service.submit(Request(messages=(Message(role=Role.USER, content=question),)))
            ended[reply.text] += 1
        except BreakerOpenError:
            ended["refused"] += 1
        except BackendUnavailableError:
            ended["ill"] += 1
        except Exception as error:  # noqa: BLE001 - what the test looks at
            ended[repr(error)] += 1

    async with anyio.create_task_group() as tasks:
        for number in range(times):
            tasks.start_soon(submit, number)
    return dict(ended)


async def main(settings: dict[str, Any], folder: Path, own: dict[str, Any], said: TextIO, heard: TextIO) -> None:
    """Answer the test until it says no more."""
    log, chosen, off_s = Log(), Settings.model_validate(settings), own["off_s"]
    container = Container(settings=providers.Object(chosen))
    peer = Backend(provider=SharedBackendProvider(Peer(folder, own["seconds"])), guard=chosen.guard)
    container.backends.override(providers.Object({"peer": peer}))
    container.clock.override(providers.Object(Off(off_s)))
    container.unix_s.override(providers.Object(lambda: time.time() + off_s))
    container.event_sinks.override(providers.Object((log,)))
    async with open_container(container) as service:
        print(os.getpid(), file=said, flush=True)
        while line := await anyio.to_thread.run_sync(heard.readline):
            match json.loads(line):
                case {"call": times}:
                    answer: object = await call(service, times)
                case "state":
                    health = service.health()
                    answer = [health.backends[0].breaker.state, health.shared is not None and health.shared.joined]
                case _:
                    answer = log.heard
            print(json.dumps(answer), file=said, flush=True)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    files = {own[end] for own in given["processes"] for end in ("reads", "writes")}
    for own in given["processes"]:
        if os.fork() == 0:
            for other in files - {own["reads"], own["writes"]}:
                os.close(other)
            with open(own["writes"], "w") as said, open(own["reads"]) as heard:  # noqa: PTH123 - descriptors
                anyio.run(main, given["settings"], Path(given["folder"]), own, said, heard)
            os._exit(0)
    for file in files:
        os.close(file)
    for _ in given["processes"]:
        os.wait()
