"""Answers that come in pieces.

Responsibility: put text and calls of tools together, whichever dialect they come in.
Guarantees: calls keep the order in which they began; each has the id and the name that came first; memory is that of
    what came, also where it came in many small pieces.
Not responsible for: how large an answer may become: whoever takes the pieces asks for `size_bytes`.
"""

from __future__ import annotations

from typing import Final

from holdfast.ports.inference import Completion, FinishReason, ToolCall, Usage

__all__ = ["AnswerPieces"]

_BYTES_PER_CALL: Final = 500
"""About what a call takes in memory besides its texts, so that many empty ones count, too."""


class AnswerPieces:
    """One answer, as far as it has come.

    Args:
        model: stands in where the answer names none.

    Attributes:
        model: that of the answer.
        reason: why it ended, once that is told.
        size_bytes: about how much of the answer is held: its texts as UTF-8, and its calls.
    """

    __slots__ = ("_calls", "_text", "model", "reason", "size_bytes")

    def __init__(self, *, model: str) -> None:
        self.model = model
        self.reason: FinishReason | None = None
        self.size_bytes = 0
        self._text = bytearray()
        self._calls: dict[int, _CallPieces] = {}

    def add_text(self, text: str) -> None:
        """Add a piece of the text."""
        added = _utf8(text)
        self._text += added
        self.size_bytes += len(added)

    def add_call(self, place: int, *, call_id: str = "", name: str = "", arguments: str = "") -> None:
        """Add a piece of the call at `place`, or begin one there."""
        call = self._calls.get(place)
        if call is None:
            call = self._calls[place] = _CallPieces()
            self.size_bytes += _BYTES_PER_CALL
        added = _utf8(arguments)
        call.call_id = call.call_id or call_id
        call.name = call.name or name
        call.arguments += added
        self.size_bytes += len(_utf8(call_id)) + len(_utf8(name)) + len(added)

    def completion(self, usage: Usage, *, without_arguments: str = "") -> Completion:
        """Return the answer; `without_arguments` stands in for those of a call of which no piece came."""
        return Completion(
            text=_text(self._text),
            model=self.model,
            usage=usage,
            tool_calls=tuple(
                ToolCall(call_id=call.call_id, name=call.name, arguments=_text(call.arguments) or without_arguments)
                for call in self._calls.values()
            ),
            finish_reason=self.reason,
        )


class _CallPieces:
    __slots__ = ("arguments", "call_id", "name")

    def __init__(self) -> None:
        self.call_id = ""
        self.name = ""
        self.arguments = bytearray()


# Half of a surrogate pair can come, as an escape of JSON.
def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(utf8: bytearray) -> str:
    return utf8.decode("utf-8", "surrogatepass")
