"""A process that asks as much as its limit lets through, for a test that counts what several of them got.

Its one argument is JSON: the settings, the file in which each call of the backend leaves a line, and for how many
seconds it asks. It says that it is ready, waits for a line of its standard input, and says how often it asked.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import anyio

from holdfast import Message, Role, Settings, open_orchestrator
from holdfast.ports.errors import HoldfastError
from holdfast.ports.inference import Completion, Prompt
from holdfast.ports.service import Request


class Backend:
    """Notes the time of each call in a file that all processes share, and answers or fails."""

    def __init__(self, calls: Path, *, fails: bool) -> None:
        self._calls = calls
        self._fails = fails

    async def complete(self, prompt: Prompt) -> Completion:
        descriptor = os.open(self._calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{time.monotonic()}\n".encode())  # a few bytes, so never torn
        os.close(descriptor)
        if self._fails:
            raise ConnectionResetError
        return Completion(text="42", model="m")


async def main(settings: dict[str, Any], calls: str, seconds: float, *, fails: bool, pause_s: float) -> None:
    """Ask until the time is over."""
    backend = Backend(Path(calls), fails=fails)
    async with open_orchestrator(Settings(**settings), backends={"a": backend}) as service:
        print("ready", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        asked = refused = 0
        end_s = time.monotonic() + seconds
        for number in itertools.count():
            if time.monotonic() > end_s:
                break
            question = Message(role=Role.USER, content=f"{os.getpid()} {number}")
            asked += 1
            try:
                await service.submit(Request(messages=(question,)))
            except (HoldfastError, ConnectionError):
                refused += 1
            await anyio.sleep(pause_s)
        health = service.health()
        processes = None if health.shared_rates is None else health.shared_rates.processes
        print(json.dumps({"asked": asked, "refused": refused, "processes": processes}), flush=True)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    anyio.run(
        lambda: main(
            given["settings"], given["calls"], given["seconds"], fails=given["fails"], pause_s=given["pause_s"]
        )
    )
