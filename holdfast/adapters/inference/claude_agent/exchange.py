"""One question to the agent and its answer, through its SDK.

Responsibility: start the agent, ask, put the answer together, and say by kind what went wrong.
Guarantees: the text is asked as it is written: no path in it is read and no command in it is run, and an agent too old
    to promise that is refused; no tool, setting or server of the user's is at its disposal; nothing of it is kept; the
    prompt stands in no list of processes.
Not responsible for: the process: see `holdfast.adapters.inference.claude_agent.process`.
Source: claude-agent-sdk 0.2.187, whose `query` speaks the agent's control protocol.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

from holdfast.adapters.inference.claude_agent.process import AgentProcess
from holdfast.adapters.inference.http.reading import count_in
from holdfast.ports.errors import (
    BackendAuthenticationError,
    BackendError,
    BackendProtocolError,
    BackendRequestError,
    BackendThrottledError,
    BackendUnavailableError,
)
from holdfast.ports.inference import Completion, FinishReason, Usage

try:
    import claude_agent_sdk
    from claude_agent_sdk import (
        AssistantMessage,
        ClaudeSDKError,
        Message,
        RateLimitEvent,
        ResultMessage,
        SystemMessage,
        TextBlock,
    )
except ImportError as error:
    raise ImportError(
        "holdfast.adapters.inference.claude_agent needs claude-agent-sdk: pip install 'holdfast[claude]'",
        name="claude_agent_sdk",
    ) from error

__all__ = ["ask"]

_OLDEST: Final = (2, 1, 248)
"""The first version that takes a text as it is written; see `ClaudeAgentOptions.verbatim_prompts` of the SDK."""

_VERSION: Final = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})")
_INPUT_TOKENS: Final = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


async def ask(
    program: str,
    question: str,
    *,
    instructions: str,
    model: str | None,
    environment: Mapping[str, str],
    backend: str,
) -> Completion:
    """Return what the agent answers.

    Args:
        program: the agent.
        question: what the user says.
        instructions: beside it; may be empty.
        model: which one answers; None leaves it to the agent.
        environment: all that it sees of ours.
        backend: what errors call it.

    Raises:
        BackendError: as `ClaudeAgentBackend.complete` says.

    Cancellation: the agent is ended.
    """
    hearing = _Hearing(backend)
    # One folder for each call: the agent works in it, and finds nothing there but what it is told.
    with TemporaryDirectory(prefix="holdfast-agent-") as folder:
        process = AgentProcess(
            [program, *_arguments(Path(folder), instructions, model)],
            folder=folder,
            environment=environment,
            backend=backend,
        )
        options = claude_agent_sdk.ClaudeAgentOptions(verbatim_prompts=True)
        # It is a generator, although its signature promises less.
        messages = cast(
            "AsyncGenerator[Message]",
            claude_agent_sdk.query(prompt=question, options=options, transport=process),
        )
        try:
            async with aclosing(messages):
                # To its end, also where enough was heard: the SDK does not close what it did not exhaust.
                async for message in messages:
                    hearing.take(message)
                    if hearing.is_over:
                        await process.close()
        except BackendError:
            raise
        except ClaudeSDKError as error:
            # Not as its cause, for it holds what was said.
            raise BackendProtocolError(
                f"says what its SDK cannot read ({type(error).__name__})", backend=backend
            ) from None
        except Exception as error:
            raise BackendUnavailableError(f"failed with {type(error).__name__}", backend=backend) from error
        finally:
            await process.close()
    return hearing.completion()


def _arguments(folder: Path, instructions: str, model: str | None) -> Sequence[str]:
    system_prompt = ["--system-prompt", ""]
    if instructions:
        # In a file, since arguments are for everyone to see and have a bound.
        file = folder / "instructions.txt"
        file.write_text(instructions, encoding="utf-8", errors="replace")
        system_prompt = ["--system-prompt-file", str(file)]
    return [
        *("--print", "--verbose", "--input-format", "stream-json", "--output-format", "stream-json"),
        *system_prompt,
        *("--tools", "", "--max-turns", "1", "--setting-sources=", "--strict-mcp-config", "--no-session-persistence"),
        *([] if model is None else [f"--model={model}"]),  # as one, so that a name is never read as an option
    ]


class _Hearing:
    """What the agent has said so far."""

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._texts: list[str] = []
        self._model = "claude"
        self._mistake: str | None = None
        self._resets_at_unix_s: float | None = None
        self._is_old = False
        self._result: ResultMessage | None = None

    @property
    def is_over(self) -> bool:
        return self._is_old or self._result is not None

    def take(self, message: Message) -> None:
        match message:
            case SystemMessage(subtype="init", data=data):
                self._is_old = _is_old(data.get("claude_code_version"))
                self._model = str(data.get("model") or self._model)
            case AssistantMessage():
                self._mistake = message.error or self._mistake
                self._model = message.model or self._model
                self._texts += [block.text for block in message.content if isinstance(block, TextBlock)]
            case RateLimitEvent(rate_limit_info=info) if info.status == "rejected":
                self._resets_at_unix_s = info.resets_at
            case ResultMessage():
                self._result = message
            case _:
                pass  # what it does meanwhile

    def completion(self) -> Completion:
        if self._is_old:
            raise BackendUnavailableError(
                f"the agent is older than {'.'.join(map(str, _OLDEST))}, and would read files that a prompt names; "
                f"update it",
                backend=self._backend,
            )
        result = self._result
        if result is None:
            raise BackendProtocolError("ended without a result", backend=self._backend)
        if result.is_error or self._mistake is not None:
            raise self._failure(result)
        return Completion(
            text=result.result if result.result is not None else "".join(self._texts),
            model=self._model,
            usage=_usage(result.usage or {}),
            finish_reason=FinishReason.LENGTH if result.stop_reason == "max_tokens" else FinishReason.STOP,
        )

    def _failure(self, result: ResultMessage) -> BackendError:
        mistake, status, name = self._mistake, result.api_error_status, self._backend
        if mistake in {"authentication_failed", "billing_error"} or status in {401, 403}:
            what = "has no credit" if mistake == "billing_error" else "is not logged in"
            return BackendAuthenticationError(
                f"the agent {what}; run `claude` once, or set ANTHROPIC_API_KEY", backend=name
            )
        if mistake == "rate_limit" or status in {429, 529}:
            resets_at = self._resets_at_unix_s
            after_s = None if resets_at is None else max(0.0, resets_at - time.time())
            return BackendThrottledError(backend=name, retry_after_s=after_s)
        if mistake == "invalid_request" or (status is not None and 400 <= status < 500):
            return BackendRequestError(
                f"refused the request ({mistake if status is None else f'HTTP {status}'})", backend=name
            )
        if result.subtype == "error_max_turns":
            return BackendProtocolError("did not come to an answer in one turn", backend=name)
        return BackendUnavailableError(f"ended with {status or mistake or result.subtype}", backend=name)


def _is_old(version: object) -> bool:
    found = _VERSION.match(str(version))
    return found is None or tuple(map(int, found.groups())) < _OLDEST


def _usage(told: dict[str, Any]) -> Usage:
    return Usage(
        input_tokens=sum(count_in(told, name) for name in _INPUT_TOKENS), output_tokens=count_in(told, "output_tokens")
    )
