"""Chat completions, as OpenAI has them and many servers after it.

Responsibility: `Dialect` of ``POST /chat/completions``: messages, tools, JSON schemas and parameters.
Guarantees: what a prompt does not set is not sent.
Not responsible for: whether a server heeds what it is sent; answers: see `holdfast.adapters.inference.openai.answer`.
Source: https://platform.openai.com/docs/api-reference/chat/create.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from holdfast.adapters.inference.http.dialect import Dialect
from holdfast.adapters.inference.http.reading import JsonObject
from holdfast.adapters.inference.openai.answer import OpenAIListening, read_completion
from holdfast.ports.inference import Completion, Message, Parameters, Prompt, ResponseFormat, Tool, ToolCall

__all__ = ["OpenAIDialect"]

_UNNAMED: Final = "unnamed"


class OpenAIDialect:
    """Asks for chat completions.

    Args:
        model: for prompts that name none; None lets the server choose.
        max_tokens: for prompts that set no bound to their answer; None for that of the server.
    """

    path = "/chat/completions"

    def __init__(self, *, model: str | None = None, max_tokens: int | None = None) -> None:
        self._model = model
        self._max_tokens = max_tokens

    def headers(self, api_key: str | None) -> Mapping[str, str]:
        """Return the headers of every request."""
        return {} if api_key is None else {"authorization": f"Bearer {api_key}"}

    def body(self, prompt: Prompt, *, streams: bool) -> JsonObject:
        """Return what is asked."""
        parameters = prompt.parameters
        body: JsonObject = {
            "model": prompt.model or self._model,
            "messages": [_message(message) for message in prompt.messages],
            "temperature": parameters.temperature,
            "top_p": parameters.top_p,
            "max_tokens": self._max_tokens if parameters.max_tokens is None else parameters.max_tokens,
            "seed": parameters.seed,
            "stop": list(parameters.stop) or None,
            "response_format": _response_format(parameters),
            "tools": [_tool(tool) for tool in parameters.tools] or None,
            "tool_choice": _tool_choice(parameters),
            "parallel_tool_calls": parameters.parallel_tool_calls,
            "stream": streams or None,
            "stream_options": {"include_usage": True} if streams else None,
        }
        return {key: value for key, value in body.items() if value is not None}

    def read(self, document: JsonObject, prompt: Prompt) -> Completion:
        """Return what an answer in one piece says."""
        return read_completion(document, model=self._model_of(prompt))

    def listen(self, prompt: Prompt) -> OpenAIListening:
        """Return what takes in an answer that streams."""
        return OpenAIListening(model=self._model_of(prompt))

    def _model_of(self, prompt: Prompt) -> str:
        return prompt.model or self._model or _UNNAMED


def _message(message: Message) -> JsonObject:
    body: JsonObject = {"role": message.role, "content": message.content}
    if message.tool_calls:
        body["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    return body


def _call(call: ToolCall) -> JsonObject:
    return {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _tool(tool: Tool) -> JsonObject:
    function = {"name": tool.name, "description": tool.description, "parameters": json.loads(tool.json_schema)}
    return {"type": "function", "function": function}


def _tool_choice(parameters: Parameters) -> str | JsonObject | None:
    if parameters.required_tool is None:
        return parameters.tool_choice
    return {"type": "function", "function": {"name": parameters.required_tool}}


def _response_format(parameters: Parameters) -> JsonObject | None:
    if parameters.response_format is not ResponseFormat.JSON:
        return None
    if parameters.json_schema is None:
        return {"type": "json_object"}
    schema: Any = json.loads(parameters.json_schema)
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


_: type[Dialect] = OpenAIDialect
