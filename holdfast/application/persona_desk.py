"""Where a request meets the personas.

Responsibility: hear what the user's message says beside its question, and who is to answer it.
Guarantees: a command that Holdfast answers by itself reaches nothing behind this desk; the question goes on without its
    command, under the name and with the parameters of the persona that answers; where there are no personas, requests
    go on untouched.
Not responsible for: the choice itself (`holdfast.domain.persona`), and what sessions keep
    (`holdfast.domain.session_keeper`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from holdfast.application.pipeline import Turn
from holdfast.domain.command import CommandAnswer, answer_command, read_message
from holdfast.domain.persona import PersonaBook
from holdfast.ports.events import EventSink, PersonaChosen
from holdfast.ports.inference import Role, Usage
from holdfast.ports.service import Disposition, Reply, Request

__all__ = ["PersonaDesk", "commanded_reply"]

_OWN_NAME: Final = "holdfast"


class PersonaDesk:
    """Hears requests out. For one event loop.

    Args:
        book: the personas that there are.
        events: told of each persona that was chosen.
    """

    def __init__(self, book: PersonaBook, *, events: EventSink) -> None:
        self._book = book
        self._is_staffed = bool(book.names)
        self._events = events

    def hear(self, turn: Turn, *, kept: str | None, in_session: bool) -> Turn | CommandAnswer:
        """Return the turn as a backend is to answer it, or what Holdfast answers by itself.

        Args:
            turn: as it came through the door.
            kept: the persona that the session keeps.
            in_session: whether the request goes with a session.

        Raises:
            RequestError: the request or its command names a persona that is not there, the command cannot be obeyed, or
                a parameter is set that the persona does not leave to the request.
        """
        request = turn.request
        if request.persona is not None:
            self._book.named(request.persona)  # also where a command is answered, or where there are no personas
        if not self._is_staffed:
            return turn
        # While tools are called, it is still the user's question that is answered.
        messages = request.messages
        asked = max(at for at, message in enumerate(messages) if message.role is Role.USER)
        message = messages[asked]
        said = read_message(message.content)
        answer = answer_command(said, self._book, kept=kept, in_session=in_session)
        if answer is not None:
            return answer
        chosen = self._book.choose(requested=request.persona, commanded=said.name, kept=kept, text=said.text)
        if said.text != message.content:
            question = replace(message, content=said.text)
            request = replace(request, messages=(*messages[:asked], question, *messages[asked + 1 :]))
        if chosen is None:
            return replace(turn, request=request)
        request = chosen.persona.instructed(request)
        self._events.emit(PersonaChosen(persona=chosen.persona.name, chosen_by=chosen.chosen_by))
        return replace(turn, request=request, persona=chosen.persona)


def commanded_reply(answer: CommandAnswer, request: Request) -> Reply:
    """Return the reply to a command: nothing was called for it, and nobody waited."""
    return Reply(
        text=answer.text,
        backend=_OWN_NAME,
        model=_OWN_NAME,
        disposition=Disposition.COMMANDED,
        attempts=0,
        queue_s=0.0,
        backend_s=0.0,
        usage=Usage(),
        citations=(),
        request_id=request.request_id,
        persona=answer.keeps,
    )
