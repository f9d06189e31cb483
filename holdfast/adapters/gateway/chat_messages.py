"""Messages and tools as OpenAI's API writes them.

Responsibility: the shapes of what a conversation and its tools consist of, and what they are here.
Guarantees: whatever cannot be honoured is refused by its name; nothing is dropped in silence.
Not responsible for: whether a conversation can be answered: the door of the service says that.
Source: OpenAI API reference, "Create chat completion".
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from holdfast.adapters.gateway.body_shape import Listed, Part
from holdfast.adapters.gateway.json_text import encode_json
from holdfast.ports.inference import Message, Role, Tool, ToolCall

__all__ = ["ChatMessage", "NamedTool", "ToolDefinition", "ToolSelection"]


class _TextPart(Part):
    type: Literal["text"]
    text: str


_Content = str | Listed[_TextPart]


class _SystemMessage(Part):
    role: Literal["system", "developer"]
    content: _Content

    @property
    def message(self) -> Message:
        return Message(role=Role.SYSTEM, content=_text(self.content))


class _UserMessage(Part):
    role: Literal["user"]
    content: _Content

    @property
    def message(self) -> Message:
        return Message(role=Role.USER, content=_text(self.content))


class _Function(Part):
    name: str
    arguments: str


class _ToolCall(Part):
    id: str
    type: Literal["function"]
    function: _Function


class _AssistantMessage(Part):
    role: Literal["assistant"]
    content: _Content | None = None
    tool_calls: Listed[_ToolCall] = Field(default_factory=list[_ToolCall])  # a default would be copied deeply each time
    refusal: None = None
    audio: None = None
    function_call: None = None
    annotations: list[Any] = Field(
        default_factory=list[Any], description="Taken and left out: clients send back what they got."
    )

    @property
    def message(self) -> Message:
        calls = tuple(
            ToolCall(call_id=call.id, name=call.function.name, arguments=call.function.arguments)
            for call in self.tool_calls
        )
        content = "" if self.content is None else _text(self.content)
        return Message(role=Role.ASSISTANT, content=content, tool_calls=calls)


class _ToolMessage(Part):
    role: Literal["tool"]
    content: _Content
    tool_call_id: str

    @property
    def message(self) -> Message:
        return Message(role=Role.TOOL, content=_text(self.content), tool_call_id=self.tool_call_id)


ChatMessage = Annotated[_SystemMessage | _UserMessage | _AssistantMessage | _ToolMessage, Field(discriminator="role")]
"""One message, by who speaks it."""


class _FunctionDefinition(Part):
    name: str
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])
    strict: Literal[False] | None = None


class ToolDefinition(Part):
    """Something that the answer may ask the client to do."""

    type: Literal["function"]
    function: _FunctionDefinition

    @property
    def tool(self) -> Tool:
        """The tool that it describes."""
        function = self.function
        schema = encode_json(function.parameters).decode()
        return Tool(name=function.name, description=function.description, json_schema=schema)


class _FunctionName(Part):
    name: str


class NamedTool(Part):
    """The one tool that must be called."""

    type: Literal["function"]
    function: _FunctionName


def _kind(selection: object) -> str:
    return "word" if isinstance(selection, str) else "tool"


ToolSelection = Annotated[
    Annotated[Literal["auto", "none", "required"], Tag("word")] | Annotated[NamedTool, Tag("tool")],
    Discriminator(_kind),
]
"""Whether tools must be called, or the one that must."""


def _text(content: _Content) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)
