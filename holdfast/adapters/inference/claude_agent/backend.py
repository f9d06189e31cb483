"""The Claude agent of this machine as a backend.

Responsibility: `InferenceBackend` over one process of the agent for each call, without tools, memory or files.
Guarantees: importing this module loads no SDK, which takes a second, and neither does opening the backend; a worker
    thread does, within the time of the first call. Where the SDK or the agent is missing, each call fails with
    `BackendUnavailableError`, as those of any backend that is down, until it is installed.
Not responsible for: how long a call may take: the attempt's timeout ends it; sampling parameters and stop texts, which
    the agent knows nothing of; streaming: the answer is one piece.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from anyio.to_thread import run_sync

from holdfast.adapters.inference.claude_agent.environment import agent_environment
from holdfast.adapters.inference.claude_agent.wording import json_of, question_of
from holdfast.adapters.inference.provider import SharedBackendProvider
from holdfast.adapters.inference.text_prompt import instructions_of, refuse_calls_of_tools
from holdfast.ports.errors import BackendProtocolError, BackendUnavailableError
from holdfast.ports.inference import (
    Completion,
    InferenceBackend,
    Prompt,
    ResponseFormat,
)
from holdfast.ports.resource import ResourceProvider

__all__ = ["ClaudeAgentBackend", "ClaudeAgentOptions", "ClaudeAgentProvider"]

_SDK: Final = "claude_agent_sdk"
_EXCHANGE: Final = "holdfast.adapters.inference.claude_agent.exchange"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaudeAgentOptions:
    """Which agent is asked, and as what.

    Args:
        cli_path: its program; None for the one that the SDK brings, or ``claude`` on PATH.
        model: which model answers a prompt that names none; None leaves it to the agent.
        pass_environment: names of further environment variables that the agent may see. Of ours it gets only what a
            program needs to run and reach the network, and its own credentials.
    """

    cli_path: Path | None = None
    model: str | None = None
    pass_environment: tuple[str, ...] = ()


class ClaudeAgentBackend:
    """Starts the agent for each call, and ends it when the answer is there; any number of calls at once.

    Args:
        name: what errors call it.
        options: which agent.
    """

    def __init__(self, name: str, options: ClaudeAgentOptions = ClaudeAgentOptions()) -> None:
        self._name = name
        self._options = options

    async def open(self) -> None:
        """See to it that the agent can be started.

        Raises:
            BackendUnavailableError: the SDK or the agent is missing.
        """
        await self._find()

    async def complete(self, prompt: Prompt) -> Completion:
        """Return the agent's answer, from one turn.

        JSON is taken out of the Markdown fences around it.

        Raises:
            BackendUnavailableError: SDK or agent are missing, it ended without an answer, or it is down.
            BackendAuthenticationError: it has no credentials that are accepted, or no credit.
            BackendThrottledError: it has asked too much lately.
            BackendRequestError: the prompt is refused, or asks for calls of tools.
            BackendProtocolError: it says what cannot be understood, or no JSON where that was asked for.

        Cancellation: the agent is ended, by force after half a second, and with it whatever it began.
        """
        refuse_calls_of_tools(prompt, backend=self._name)
        program = await self._find()
        try:
            await run_sync(import_module, _EXCHANGE)
        except ImportError as error:
            raise BackendUnavailableError(str(error), backend=self._name) from error
        from holdfast.adapters.inference.claude_agent.exchange import ask  # noqa: PLC0415 - loads the SDK

        completion = await ask(
            program,
            question_of(prompt),
            instructions=instructions_of(prompt),
            model=prompt.model or self._options.model,
            environment=agent_environment(os.environ, passed=self._options.pass_environment, trace=prompt.trace),
            backend=self._name,
        )
        if prompt.parameters.response_format is not ResponseFormat.JSON:
            return completion
        text = json_of(completion.text)
        if text is None:
            raise BackendProtocolError("answers with no JSON where that was asked for", backend=self._name)
        return replace(completion, text=text)

    async def _find(self) -> str:
        cli_path = self._options.cli_path
        if find_spec(_SDK) is None:
            raise BackendUnavailableError("needs claude-agent-sdk: pip install 'holdfast[claude]'", backend=self._name)
        program = await run_sync(_find_program, cli_path)
        if program is None:
            nowhere = "there is no Claude agent here; install it, or name it in cli_path"
            missing = nowhere if cli_path is None else f"cli_path: {cli_path} is no program"
            raise BackendUnavailableError(missing, backend=self._name)
        return program


def _find_program(cli_path: Path | None) -> str | None:
    # The one given, the one that the SDK brings, or the one on PATH.
    if cli_path is not None:
        return shutil.which(cli_path.absolute())  # it is started in another folder
    sdk = find_spec(_SDK)
    bundled = None if sdk is None or sdk.origin is None else Path(sdk.origin).with_name("_bundled") / "claude"
    return (bundled and shutil.which(bundled)) or shutil.which("claude")


class ClaudeAgentProvider(SharedBackendProvider):
    """Hands out one backend, as long as its agent can be started.

    Args:
        backend: which one.
    """

    def __init__(self, backend: ClaudeAgentBackend) -> None:
        super().__init__(backend)
        self._agent = backend

    async def create(self) -> InferenceBackend:
        """Return the backend.

        Raises:
            BackendUnavailableError: its SDK or its agent is missing.
        """
        await self._agent.open()
        return await super().create()


_: type[InferenceBackend] = ClaudeAgentBackend
__: type[ResourceProvider[InferenceBackend]] = ClaudeAgentProvider
