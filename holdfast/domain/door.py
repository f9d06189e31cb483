"""The door: what a request must be to come in at all.

Responsibility: check a request once, before anything is spent on it, and say how large it is.
Guarantees: whatever passes is trusted by every later stage; a refusal names the field and what is valid.
Not responsible for: whether there is room for it: see `holdfast.domain.admission`.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from typing import Final

from holdfast.domain.text_size import utf8_size_bytes
from holdfast.ports.errors import RequestError
from holdfast.ports.inference import Parameters, ResponseFormat, Role, ToolChoice
from holdfast.ports.service import Priority, Request

__all__ = ["MAX_TENANT_CHARS", "check_request", "parameter_problem"]

MAX_TENANT_CHARS: Final = 256
"""The longest name of a tenant; bounds what is kept for each tenant, of which the number is bounded; unmeasured."""


def check_request(request: Request, *, max_bytes: int) -> int:
    """Return the size of `request`: its texts as UTF-8, in bytes.

    Raises:
        RequestError: if it ends with no message of the user's or a tool's, or with a blank question, is larger than
            `max_bytes`, its tenant has no name or too long a one, a number in it is out of range, its priority is none,
            or its tools or a schema could not be used.

    Complexity: linear in the texts; what is too large is given up early, and never copied.
    """
    last = request.messages[-1] if request.messages else None
    if last is None or last.role not in {Role.USER, Role.TOOL}:
        raise RequestError("messages: the last message must be the user's, or that of a tool")
    if last.role is Role.USER and not last.content.strip():
        raise RequestError("messages: the last message must not be blank")
    if last.role is Role.TOOL and all(message.role is not Role.USER for message in request.messages):
        raise RequestError("messages: one of them must be the user's")
    if not request.tenant:
        raise RequestError("tenant: must not be empty")
    if len(request.tenant) > MAX_TENANT_CHARS:
        raise RequestError(f"tenant: {len(request.tenant)} characters are more than the {MAX_TENANT_CHARS} allowed")
    if request.timeout_s is not None and not 0 < request.timeout_s <= sys.float_info.max:
        raise RequestError(f"timeout_s: must be a finite number above 0, not {request.timeout_s!r}")
    _check_priority(request.priority)
    size_bytes = 0
    for field, text in _texts(request):
        size_bytes += utf8_size_bytes(text, enough_bytes=max_bytes - size_bytes)
        if size_bytes > max_bytes:
            raise RequestError(
                f"{field}: {size_bytes} bytes or more do not fit into the {max_bytes} allowed; send less"
            )
    if problem := parameter_problem(request.parameters):
        raise RequestError(f"parameters.{problem}")
    _check_tool_messages(request)
    return size_bytes


def parameter_problem(parameters: Parameters) -> str | None:
    """Return what is out of range in `parameters`, its field first; None if nothing is.

    Example:
        >>> parameter_problem(Parameters(top_p=0.0))
        'top_p: must be above 0 and at most 1, not 0.0'
    """
    temperature, top_p, max_tokens = parameters.temperature, parameters.top_p, parameters.max_tokens
    if temperature is not None and not 0 <= temperature < math.inf:
        return f"temperature: must be finite and at least 0, not {temperature!r}"
    if top_p is not None and not 0 < top_p <= 1:
        return f"top_p: must be above 0 and at most 1, not {top_p!r}"
    if max_tokens is not None and max_tokens < 1:
        return f"max_tokens: must be at least 1, not {max_tokens!r}"
    if parameters.json_schema is not None:
        if parameters.response_format is not ResponseFormat.JSON:
            return "json_schema: needs the response_format json"
        if not _is_json_object(parameters.json_schema):
            return "json_schema: must be a JSON object, as text"
    return _tool_problem(parameters)


def _tool_problem(parameters: Parameters) -> str | None:
    if not parameters.tools:
        return _toolless_problem(parameters)
    names = [tool.name for tool in parameters.tools]
    if not all(names):
        return "tools: each needs a name"
    if len(set(names)) < len(names):
        return "tools: each needs a name of its own"
    if unusable := next((tool for tool in parameters.tools if not _is_json_object(tool.json_schema)), None):
        return f"tools: the json_schema of {unusable.name!r} must be a JSON object, as text"
    return None if parameters.required_tool is None else _required_tool_problem(parameters, parameters.required_tool)


def _toolless_problem(parameters: Parameters) -> str | None:
    if parameters.tool_choice is not None:
        return "tool_choice: needs tools"
    if parameters.required_tool is not None:
        return "required_tool: needs tools"
    return None if parameters.parallel_tool_calls is None else "parallel_tool_calls: needs tools"


def _required_tool_problem(parameters: Parameters, required: str) -> str | None:
    if parameters.tool_choice is not ToolChoice.REQUIRED:
        return "required_tool: needs the tool_choice required"
    if all(tool.name != required for tool in parameters.tools):
        return "tool_choice: requires a tool that is none of tools; name one of them"
    return None


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _check_tool_messages(request: Request) -> None:
    for message in request.messages:
        if (message.role is Role.TOOL) is not (message.tool_call_id is not None):
            raise RequestError("messages: the message of a tool, and no other, says with tool_call_id what it answers")
        if message.tool_calls and message.role is not Role.ASSISTANT:
            raise RequestError("messages: only the assistant's messages have tool_calls")
    if request.session_id is not None and (
        request.parameters.tools or any(message.tool_calls or message.tool_call_id for message in request.messages)
    ):
        raise RequestError("session_id: a session keeps no calls of tools; send the whole conversation instead")


def _texts(request: Request) -> Iterator[tuple[str, str]]:
    # Those that have no bound of their own. Names first, so that a refusal tells of the one that is out of proportion.
    if request.model is not None:
        yield "model", request.model
    if request.persona is not None:
        yield "persona", request.persona
    if request.idempotency_key is not None:
        yield "idempotency_key", request.idempotency_key
    if request.request_id is not None:
        yield "request_id", request.request_id
    if request.trace is not None:
        yield from (("trace", text) for text in request.trace.headers().values())
    for stop in request.parameters.stop:
        yield "parameters.stop", stop
    if request.parameters.json_schema is not None:
        yield "parameters.json_schema", request.parameters.json_schema
    for tool in request.parameters.tools:
        yield from (("parameters.tools", text) for text in tool.texts)
    for message in request.messages:
        yield from (("messages", text) for text in message.texts)


def _check_priority(priority: object) -> None:
    # An IntEnum is so easily given as its number, or by its name, that the types alone do not keep that out.
    if not isinstance(priority, Priority):
        valid = ", ".join(f"Priority.{known.name}" for known in Priority)
        raise RequestError(f"priority: must be one of {valid}, not {priority!r}")
