"""Commands that a user writes instead of a question, or in front of one.

Responsibility: tell a message that begins with ``/expert`` from an ordinary one, and answer those that ask nobody.
Guarantees: any text is read, and nothing is ever refused while reading; what is no command is ordinary text, other
    words behind a slash included; every text can be asked as it is, by putting one more slash in front of the command
    that it begins with.
Not responsible for: which persona answers (`holdfast.domain.persona`), and where a session keeps it
    (`holdfast.domain.session_keeper`).

    /expert                     says which personas there are
    /expert status              says which one the session keeps
    /expert off                 ends that
    /expert NAME                keeps that persona for the session
    /expert NAME question       asks it this one question
    //expert …                  is the text ``/expert …``
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, assert_never

from holdfast.domain.persona import Persona, PersonaBook
from holdfast.ports.errors import RequestError

__all__ = ["Command", "CommandAnswer", "Said", "answer_command", "read_message"]

_WORD: Final = "expert"

_USAGE: Final = "/expert NAME question asks one of them, and /expert NAME keeps it for the session."


class Command(enum.Enum):
    """What a message can ask of Holdfast itself."""

    LIST = "list"
    STATUS = "status"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A message, read.

    Args:
        text: the question: without its command, and without the slash that keeps an ordinary text from being one.
        command: what it asks of Holdfast itself; None for everything else.
        name: the persona that it names, as it was written; None if it names none.
    """

    text: str
    command: Command | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandAnswer:
    """What Holdfast itself answers to a command.

    Args:
        text: the answer.
        keeps: the persona that the session keeps from now on; None for none.
    """

    text: str
    keeps: str | None


def read_message(content: str) -> Said:
    """Return what the user's message says.

    Example:
        >>> read_message("/expert memory Why is it slow?")
        Said(text='Why is it slow?', command=None, name='memory')
        >>> read_message("//expert off")
        Said(text='/expert off', command=None, name=None)

    Complexity: linear in its length.
    """
    behind = content.lstrip("/")
    slashes = len(content) - len(behind)
    word, rest = behind[: len(_WORD)], behind[len(_WORD) :]
    if not slashes or word.casefold() != _WORD or not (rest[:1].isspace() or not rest):
        return Said(text=content)
    if slashes > 1:
        return Said(text=content[1:])
    if not rest.strip():
        return Said(text="", command=Command.LIST)
    name, *behind_name = rest.split(maxsplit=1)
    text = "".join(behind_name)
    match name.casefold():
        case "status":
            return Said(text=text, command=Command.STATUS)
        case "off":
            return Said(text=text, command=Command.OFF)
        case _:
            return Said(text=text, name=name)


def answer_command(said: Said, book: PersonaBook, *, kept: str | None, in_session: bool) -> CommandAnswer | None:
    """Return what Holdfast answers by itself; None if there is a question that a backend has to answer.

    Args:
        said: the message, read.
        book: the personas that there are.
        kept: the persona that the session keeps.
        in_session: whether the request goes with a session.

    Raises:
        RequestError: if the command names no persona, would keep one where there is no session, or is followed by what
            it does not take.
    """
    if said.name is not None:
        persona = book.named(said.name)
        return None if said.text else _kept(persona, in_session=in_session)
    if said.command is None:
        return None
    if said.text:
        raise RequestError(
            f"messages: nothing follows /expert {said.command.value}; send the question as a message of its own"
        )
    match said.command:
        case Command.LIST:
            return CommandAnswer(text=f"There are {_names(book)}. {_USAGE}", keeps=kept)
        case Command.STATUS:
            return CommandAnswer(text=_status(book, kept=kept, in_session=in_session), keeps=kept)
        case Command.OFF:
            return CommandAnswer(
                text="No persona was kept." if kept is None else f"{kept} is not kept any more.", keeps=None
            )
        case _:
            assert_never(said.command)


def _kept(persona: Persona, *, in_session: bool) -> CommandAnswer:
    if not in_session:
        raise RequestError(
            f"messages: without a session, /expert {persona.name} holds for one question; write it behind the name"
        )
    return CommandAnswer(
        text=f"{persona.name} answers in this session from now on. /expert off ends that.", keeps=persona.name
    )


def _names(book: PersonaBook) -> str:
    return ", ".join(book.names) or "no personas"


def _status(book: PersonaBook, *, kept: str | None, in_session: bool) -> str:
    if not in_session:
        return f"There is no session to keep a persona. There are {_names(book)}."
    if kept is None:
        return f"This session keeps no persona. There are {_names(book)}."
    if book.find(kept) is None:
        return f"This session keeps {kept}, which is not there any more. There are {_names(book)}."
    return f"This session keeps {kept}."
