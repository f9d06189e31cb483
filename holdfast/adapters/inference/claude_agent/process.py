"""The agent's process.

Responsibility: the transport below the SDK: start the agent, carry lines both ways, and end it.
Guarantees: it gets the environment that it is given and nothing else; a line has a bound; when `close` returns it has
    ended, and whatever it began in its group; nothing that it writes beside its answers is kept.
Not responsible for: what the lines say: the SDK reads them.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from subprocess import DEVNULL, PIPE
from typing import Any, Final, Self

import anyio
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream

from holdfast.ports.errors import BackendProtocolError, BackendUnavailableError

try:
    from claude_agent_sdk import Transport
except ImportError as error:
    raise ImportError(
        "holdfast.adapters.inference.claude_agent needs claude-agent-sdk: pip install 'holdfast[claude]'",
        name="claude_agent_sdk",
    ) from error

__all__ = ["AgentProcess"]

_MAX_LINE_BYTES: Final = 8 * 1024 * 1024
"""The longest line, which may hold a whole answer; as long as a stream's by default."""

_GRACE_S: Final = 0.5
_REAP_S: Final = 5.0


class AgentProcess(Transport):
    """One process of the agent, for one question. On POSIX systems.

    The SDK's own transport waits five seconds for an agent that nobody listens to any more, and hands down all of our
    environment; so this one.

    Args:
        command: the program and its arguments.
        folder: which it works in.
        environment: all that it sees of ours.
        backend: what errors call it.
    """

    def __init__(self, command: Sequence[str], *, folder: str, environment: Mapping[str, str], backend: str) -> None:
        self._command = command
        self._folder = folder
        self._environment = environment
        self._backend = backend
        self._process: Process | None = None

    async def connect(self) -> None:
        """Start it.

        Raises:
            BackendUnavailableError: it cannot be started.
        """
        try:
            self._process = await anyio.open_process(
                self._command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                cwd=self._folder,
                env=self._environment,
                start_new_session=True,  # a group of its own, to be ended as a whole, and no Ctrl-C but ours
            )
        except OSError as error:
            raise BackendUnavailableError(f"cannot be started: {error.strerror}", backend=self._backend) from error

    async def write(self, data: str) -> None:
        """Send a line.

        Raises:
            BackendUnavailableError: it has ended.
        """
        stdin = None if self._process is None else self._process.stdin
        try:
            if stdin is not None:
                await stdin.send(data.encode())
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise BackendUnavailableError("ended before it was asked", backend=self._backend) from error

    def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        """Return what it says, line by line, until it ends.

        Raises:
            BackendProtocolError: while iterating; a line is too long, or no JSON.
            BackendUnavailableError: while iterating; it failed.
        """
        return _Messages(self, None if self._process is None else self._process.stdout)

    async def end_input(self) -> None:
        """Say that nothing more is asked."""
        if self._process is not None and self._process.stdin is not None:
            await self._process.stdin.aclose()

    async def close(self) -> None:
        """End it, in `_GRACE_S` by itself or then by force, and what it leaves behind; once is enough.

        Cancellation: shielded; it takes no longer than the bounds say.
        """
        process, self._process = self._process, None
        if process is None:
            return
        with anyio.CancelScope(shield=True):
            for number, wait_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _REAP_S)):
                with suppress(ProcessLookupError):  # the whole group has ended, and not only its first process
                    os.killpg(process.pid, number)
                with anyio.move_on_after(wait_s):
                    await process.wait()
            with anyio.move_on_after(_REAP_S):
                await process.aclose()

    def is_ready(self) -> bool:
        """Return whether it was started and not ended."""
        return self._process is not None

    async def next_message(self, lines: BufferedByteReceiveStream) -> dict[str, Any] | None:
        """Return what the next of `lines` says; None after the last one."""
        while (line := await self._next_line(lines)) is not None:
            if line.lstrip().startswith(b"{"):  # some versions also write notes for people
                return self._parsed(line)
        process = self._process
        if process is not None and (code := await process.wait()):  # or it was ended by us
            raise BackendUnavailableError(f"ended with exit code {code}", backend=self._backend)
        return None

    async def _next_line(self, lines: BufferedByteReceiveStream) -> bytes | None:
        try:
            return await lines.receive_until(b"\n", _MAX_LINE_BYTES)
        except (anyio.IncompleteRead, anyio.ClosedResourceError):
            return None
        except anyio.DelimiterNotFound:
            raise BackendProtocolError(
                f"sends a line of more than {_MAX_LINE_BYTES} bytes", backend=self._backend
            ) from None

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            message: dict[str, Any] = json.loads(line)
        except (ValueError, RecursionError):
            # Not as its cause, for it holds what was said.
            raise BackendProtocolError("sends a line that is no JSON", backend=self._backend) from None
        return message


class _Messages:
    """What a process says. No generator: the SDK leaves it where it is cancelled, and closes nothing."""

    def __init__(self, process: AgentProcess, output: ByteReceiveStream | None) -> None:
        self._process = process
        self._lines = None if output is None else BufferedByteReceiveStream(output)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        message = None if self._lines is None else await self._process.next_message(self._lines)
        if message is None:
            raise StopAsyncIteration
        return message
