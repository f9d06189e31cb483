"""The body of ``POST /v1/chat/completions``.

Responsibility: which fields of OpenAI's API are taken, and the request that they describe.
Guarantees: a field is honoured, harmless, or refused by its name. Harmless are those that change no answer: they name
    the end user, steer caches and billing of OpenAI's own, or say what holds anyway.
Not responsible for: ranges of numbers and lengths of texts: the door of the service checks those.
Source: OpenAI API reference, "Create chat completion".
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from holdfast.adapters.gateway.body_shape import Listed, Part
from holdfast.adapters.gateway.chat_messages import ChatMessage, NamedTool, ToolDefinition, ToolSelection
from holdfast.adapters.gateway.json_text import encode_json
from holdfast.ports.inference import Parameters, ResponseFormat, ToolChoice

__all__ = ["ANY_MODEL", "ChatBody", "ChosenModel"]

ANY_MODEL: Final = "holdfast"
"""The model that leaves the choice to the service; with a persona behind a colon, to that persona."""

_Zero = Annotated[float, Field(ge=0, le=0)]
_Nothing = Annotated[list[Any] | dict[str, Any], Field(max_length=0)]
_Harmless = Annotated[Any, Field(description="Taken and left out: it changes no answer.")]


class _StreamOptions(Part):
    include_usage: bool = False
    include_obfuscation: _Harmless = None


class _TextFormat(Part):
    type: Literal["text"]


class _JsonFormat(Part):
    type: Literal["json_object"]


class _JsonSchema(Part):
    name: str
    json_schema: dict[str, Any] = Field(default={}, alias="schema")
    description: str | None = None
    strict: bool | None = None


class _SchemaFormat(Part):
    type: Literal["json_schema"]
    json_schema: _JsonSchema


class ChosenModel(Part):
    """What the ``model`` of a body stands for: a model of a backend, or a persona, or neither."""

    model: str | None = None
    persona: str | None = None

    @classmethod
    def of(cls, name: str) -> ChosenModel:
        """Return what `name` stands for.

        Example:
            >>> ChosenModel.of("holdfast:critic").persona
            'critic'
        """
        ours, _, persona = name.partition(":")
        if ours != ANY_MODEL:
            return cls(model=name)
        return cls(persona=persona or None)


class ChatBody(Part):
    """A conversation to be answered."""

    messages: Annotated[Listed[ChatMessage], Field(min_length=1)]
    model: Annotated[str, Field(min_length=1)] = ANY_MODEL
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    seed: int | None = None
    stop: str | Listed[str] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    response_format: Annotated[_TextFormat | _JsonFormat | _SchemaFormat, Field(discriminator="type")] | None = None
    tools: Listed[ToolDefinition] | None = None
    tool_choice: ToolSelection | None = None
    parallel_tool_calls: bool | None = None

    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    store: Literal[False] | None = None
    frequency_penalty: _Zero | None = None
    presence_penalty: _Zero | None = None
    logit_bias: _Nothing | None = None
    modalities: Listed[Literal["text"]] | None = None

    user: _Harmless = None
    metadata: _Harmless = None
    service_tier: _Harmless = None
    safety_identifier: _Harmless = None
    prompt_cache_key: _Harmless = None
    prompt_cache_retention: _Harmless = None
    prediction: _Harmless = None

    @property
    def parameters(self) -> Parameters:
        """How the answer shall be made."""
        form = self.response_format
        most = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        return Parameters(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=most,
            seed=self.seed,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            response_format=ResponseFormat.TEXT if form is None or form.type == "text" else ResponseFormat.JSON,
            json_schema=(
                encode_json(form.json_schema.json_schema).decode() if isinstance(form, _SchemaFormat) else None
            ),
            tools=tuple(definition.tool for definition in self.tools or ()),
            tool_choice=self._tool_choice,
            required_tool=self.tool_choice.function.name if isinstance(self.tool_choice, NamedTool) else None,
            parallel_tool_calls=self.parallel_tool_calls if self.tools else None,
        )

    @property
    def _tool_choice(self) -> ToolChoice | None:
        if isinstance(self.tool_choice, NamedTool):
            return ToolChoice.REQUIRED
        if self.tool_choice is None or not (self.tools or self.tool_choice == "required"):
            return None  # without tools none is called, and any other choice is none
        return ToolChoice(self.tool_choice)
