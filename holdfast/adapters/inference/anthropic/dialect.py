"""Messages, as Anthropic has them.

Responsibility: `Dialect` of ``POST /messages``: messages, tools and parameters.
Guarantees: what a prompt does not set is not sent, but for the bound of the answer, which the API wants to know; what
    the API has no field for is said in words (JSON) or left out (the seed).
Not responsible for: whether a server heeds what it is sent; answers: see
    `holdfast.adapters.inference.anthropic.answer`.
Source: https://docs.anthropic.com/en/api/messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from holdfast.adapters.inference.anthropic.answer import AnthropicListening, read_message
from holdfast.adapters.inference.http.dialect import Dialect
from holdfast.adapters.inference.http.reading import JsonObject
from holdfast.adapters.inference.text_prompt import instructions_of
from holdfast.ports.inference import (
    Completion,
    Message,
    Parameters,
    Prompt,
    Role,
    Tool,
    ToolCall,
    ToolChoice,
)

__all__ = ["AnthropicDialect"]

_VERSION: Final = "2023-06-01"
_CHOICES: Final = {ToolChoice.AUTO: "auto", ToolChoice.NONE: "none", ToolChoice.REQUIRED: "any"}


class AnthropicDialect:
    """Asks for messages.

    Args:
        model: for prompts that name none.
        max_tokens: for prompts that set no bound to their answer.
    """

    path = "/messages"

    def __init__(self, *, model: str, max_tokens: int) -> None:
        self._model = model
        self._max_tokens = max_tokens

    def headers(self, api_key: str | None) -> Mapping[str, str]:
        """Return the headers of every request."""
        version = {"anthropic-version": _VERSION}
        return version if api_key is None else version | {"x-api-key": api_key}

    def body(self, prompt: Prompt, *, streams: bool) -> JsonObject:
        """Return what is asked."""
        parameters = prompt.parameters
        body: JsonObject = {
            "model": prompt.model or self._model,
            "max_tokens": self._max_tokens if parameters.max_tokens is None else parameters.max_tokens,
            "system": instructions_of(prompt) or None,
            "messages": [_message(message) for message in prompt.messages if message.role is not Role.SYSTEM],
            "temperature": parameters.temperature,
            "top_p": parameters.top_p,
            "stop_sequences": list(parameters.stop) or None,
            "tools": [_tool(tool) for tool in parameters.tools] or None,
            "tool_choice": _tool_choice(parameters),
            "stream": streams or None,
        }
        return {key: value for key, value in body.items() if value is not None}

    def read(self, document: JsonObject, prompt: Prompt) -> Completion:
        """Return what an answer in one piece says."""
        return read_message(document, model=prompt.model or self._model)

    def listen(self, prompt: Prompt) -> AnthropicListening:
        """Return what takes in an answer that streams."""
        return AnthropicListening(model=prompt.model or self._model)


def _message(message: Message) -> JsonObject:
    if message.role is Role.TOOL:
        result = {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.content}
        return {"role": "user", "content": [result]}
    if not message.tool_calls:
        return {"role": message.role, "content": message.content}
    # A block of text must not be empty.
    text = [{"type": "text", "text": message.content}] if message.content else []
    return {"role": message.role, "content": [*text, *map(_call, message.tool_calls)]}


def _call(call: ToolCall) -> JsonObject:
    return {"type": "tool_use", "id": call.call_id, "name": call.name, "input": _arguments(call.arguments)}


def _arguments(text: str) -> JsonObject:
    # The API wants an object; what a model wrote that is none is shown to it as it is.
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return {"arguments": text}
    return value if isinstance(value, dict) else {"arguments": text}  # pyright: ignore[reportUnknownVariableType] - Any


def _tool(tool: Tool) -> JsonObject:
    return {
        "name": tool.name,
        "description": tool.description,
        "input_schema": {"type": "object"} | json.loads(tool.json_schema),
    }


def _tool_choice(parameters: Parameters) -> JsonObject | None:
    choice = parameters.tool_choice
    one_by_one = {"disable_parallel_tool_use": True} if parameters.parallel_tool_calls is False else {}
    if choice is None and not one_by_one:
        return None
    if choice is ToolChoice.NONE:
        return {"type": _CHOICES[choice]}  # which takes nothing besides
    if parameters.required_tool is not None:
        return {"type": "tool", "name": parameters.required_tool, **one_by_one}
    return {"type": _CHOICES[choice or ToolChoice.AUTO], **one_by_one}


_: type[Dialect] = AnthropicDialect
