"""Which requests are the same.

Responsibility: one key for everything that decides an answer, and saying which requests must not be shared.
Guarantees: the same request has the same key in every process and on every Python version; any difference that can
    change the answer changes the key. Numbers are compared by value (1 and 1.0 are one temperature); a truth value or
    a text in a number's place is something else.
Not responsible for: sharing answers: see `holdfast.domain.deduplicator`; how urgent a request is and what it is called
    (priority, timeout_s, request_id, idempotency_key) say nothing about its answer and are no part of the key.
Sources: netstrings, https://cr.yp.to/proto/netstrings.txt; FIPS 180-4 (SHA-256). Why not JSON: ADR 0010.

What is hashed, as UTF-8 with lone surrogates kept, is one text that can be read back in only one way:

    key         schema text(tenant) ["m" text(model)] ["p" text(persona)] ["v" integer text(session)]
                ["t" number] ["q" number] ["x" number] ["s" number] ["e" integer text…] ["f" text]
                ["j" text(schema)] ["o" integer (text(name) text(description) text(schema))…] ["c" text]
                ["n" text(tool)] ["b" number] message…
    text        length in characters, ":", the characters
    integer     hexadecimal, as `hex` writes it, ";"
    number      integer, also for a float that is integral; or "d", shortest decimal, ";"; or "T"; or "F"; or text
    message     length of the role, ",", length of the content, ":", role, content,
                ["i" text(call)] ["l" integer (text(call) text(name) text(arguments))…]

A field that is not set is left out, so that a later optional field changes no existing key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.ports.inference import Message, Parameters, ResponseFormat
from holdfast.ports.service import Request

__all__ = ["DeduplicationKey", "opts_out"]

_SCHEMA = "holdfast.deduplication.1;"
_TEXT = ResponseFormat.TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class DeduplicationKey:
    """The identity of a request: two requests with the same key may share one answer.

    Args:
        digest: 32 bytes, SHA-256.

    Example:
        >>> from holdfast.ports.inference import Message, Parameters, Role
        >>> def key(temperature: float) -> DeduplicationKey:
        ...     return DeduplicationKey.of(
        ...         tenant="default",
        ...         model=None,
        ...         messages=(Message(role=Role.USER, content="Why is the sky blue?"),),
        ...         parameters=Parameters(temperature=temperature),
        ...     )
        >>> key(1) == key(1.0), key(1) == key(0)
        (True, False)
    """

    digest: bytes

    def __str__(self) -> str:
        return self.digest.hex()

    @classmethod
    def of(
        cls,
        *,
        tenant: str,
        model: str | None,
        messages: Sequence[Message],
        parameters: Parameters,
        persona: str | None = None,
        session: tuple[str, int] | None = None,
    ) -> DeduplicationKey:
        """Return the key of one request.

        Args:
            tenant: who asks; two tenants never share.
            model: which model; None for the backend's own choice.
            messages: the conversation, in order.
            parameters: how the answer shall be made.
            persona: name and version of the instructions that are added later, if any.
            session: identity of the conversation that is added later, and its version, which grows with every turn.

        Complexity: linear in the length of the messages.
        """
        parts = [f"{_SCHEMA}{len(tenant)}:", tenant]
        if model is not None:
            parts += (f"m{len(model)}:", model)
        if persona is not None:
            parts += (f"p{len(persona)}:", persona)
        if session is not None:
            identity, version = session
            parts += (f"v{hex(version)};{len(identity)}:", identity)
        _add_parameters(parts, parameters)
        for message in messages:
            parts += (f"{len(message.role)},{len(message.content)}:", message.role, message.content)
            if message.tool_call_id is not None:
                parts += (f"i{len(message.tool_call_id)}:", message.tool_call_id)
            if message.tool_calls:
                parts.append(f"l{hex(len(message.tool_calls))};")
                for call in message.tool_calls:
                    _add_texts(parts, call.texts)
        return cls(digest=hashlib.sha256("".join(parts).encode("utf-8", "surrogatepass")).digest())


def _add_parameters(parts: list[str], parameters: Parameters) -> None:
    if parameters.temperature is not None:
        parts += ("t", _number(parameters.temperature))
    if parameters.top_p is not None:
        parts += ("q", _number(parameters.top_p))
    if parameters.max_tokens is not None:
        parts += ("x", _number(parameters.max_tokens))
    if parameters.seed is not None:
        parts += ("s", _number(parameters.seed))
    if parameters.stop:
        parts.append(f"e{hex(len(parameters.stop))};")
        for stop in parameters.stop:
            parts += (f"{len(stop)}:", stop)
    if parameters.response_format is not _TEXT:
        parts += (f"f{len(parameters.response_format)}:", parameters.response_format)
    _add_form(parts, parameters)


def _add_form(parts: list[str], parameters: Parameters) -> None:
    if parameters.json_schema is not None:
        parts += (f"j{len(parameters.json_schema)}:", parameters.json_schema)
    if parameters.tools:
        parts.append(f"o{hex(len(parameters.tools))};")
        for tool in parameters.tools:
            _add_texts(parts, tool.texts)
    if parameters.tool_choice is not None:
        parts += (f"c{len(parameters.tool_choice)}:", parameters.tool_choice)
    if parameters.required_tool is not None:
        parts += (f"n{len(parameters.required_tool)}:", parameters.required_tool)
    if parameters.parallel_tool_calls is not None:
        parts += ("b", _number(parameters.parallel_tool_calls))


def _add_texts(parts: list[str], texts: tuple[str, ...]) -> None:
    for text in texts:
        parts += (f"{len(text)}:", text)


def _number(value: float | str) -> str:
    if type(value) is int:
        return f"{hex(value)};"
    if isinstance(value, float):
        # float.__repr__, because a subclass may write itself in another way from version to version.
        return f"{hex(int(value))};" if value.is_integer() else f"d{float.__repr__(value)};"
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, str):
        # Only a caller that ignores the types comes here; the text must not pass for the number that it spells.
        return f"{len(value)}:{value}"
    return f"{hex(value)};"


def opts_out(request: Request) -> bool:
    """Return whether `request` must be answered for itself alone, neither sharing an answer nor leaving one behind.

    So it is when the caller says so, and when asking is not idempotent: each of two such requests is meant to have its
    effect, and a call that another request began may be retried or hedged. So it is also when the caller asks for
    sampling: a temperature above 0 without a seed means that two answers shall differ. A temperature that is not set
    asks for nothing.

    Example:
        >>> from holdfast.ports.inference import Parameters
        >>> opts_out(Request(messages=(), parameters=Parameters(temperature=0.7)))
        True
        >>> opts_out(Request(messages=(), parameters=Parameters(temperature=0.7, seed=1)))
        False
    """
    if request.no_cache or not request.idempotent:
        return True
    temperature = request.parameters.temperature
    return temperature is not None and temperature > 0 and request.parameters.seed is None
