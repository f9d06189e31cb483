"""Calls of tools that come in pieces.

Responsibility: put the pieces together, call by call.
Guarantees: calls keep the order in which they began; each has the id and the name that came first.
Not responsible for: how large they may become: whoever takes the pieces asks for `size_bytes`.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.ports.inference import ToolCall

__all__ = ["ToolCallPieces"]

_BYTES_PER_CALL = 500
"""About what a call takes in memory besides its texts, so that many empty ones count, too."""


class ToolCallPieces:
    """The calls of one answer, as far as they have come."""

    __slots__ = ("_calls", "size_bytes")

    def __init__(self) -> None:
        self._calls: dict[int, _Pieces] = {}
        self.size_bytes = 0

    def add(self, place: int, *, call_id: str = "", name: str = "", arguments: str = "") -> None:
        """Add a piece of the call at `place`, or begin one there."""
        call = self._calls.get(place)
        if call is None:
            call = self._calls[place] = _Pieces()
            self.size_bytes += _BYTES_PER_CALL
        call.call_id = call.call_id or call_id
        call.name = call.name or name
        call.arguments.append(arguments)
        self.size_bytes += len(call_id) + len(name) + len(arguments)

    def calls(self, *, without_arguments: str = "") -> tuple[ToolCall, ...]:
        """Return the calls; `without_arguments` stands in for arguments of which no piece came."""
        return tuple(self._whole(self._calls.values(), without_arguments))

    @staticmethod
    def _whole(calls: Iterable[_Pieces], without_arguments: str) -> Iterable[ToolCall]:
        for call in calls:
            arguments = "".join(call.arguments) or without_arguments
            yield ToolCall(call_id=call.call_id, name=call.name, arguments=arguments)


class _Pieces:
    __slots__ = ("arguments", "call_id", "name")

    def __init__(self) -> None:
        self.call_id = ""
        self.name = ""
        self.arguments: list[str] = []
