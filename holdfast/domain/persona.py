"""Personas: instructions for a backend, and which of them answers a request.

Responsibility: what a persona is, choosing one, and the request as the chosen one has it asked.
Guarantees: of the request's own name, a command, the session and the text, the first that names a persona decides; the
    same text always finds the same one; recognising takes time linear in the text, and makes a pattern of nothing that
    a user wrote; an unknown name, or a parameter that a persona does not leave to the request, is refused naming the
    valid ones.
Not responsible for: reading commands (`holdfast.domain.command`), where a session keeps its persona
    (`holdfast.domain.session_keeper`), putting the instructions into the prompt (`holdfast.domain.prompt_assembly`).
Source: Unicode 16.0, section 3.13, D145 (canonical caseless matching).

Words are compared without regard to case and to how their accents are encoded. A word is a run of letters and digits
with their marks; in languages that put no space between words a whole run is one.
"""

from __future__ import annotations

import dataclasses
import enum
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from holdfast.domain.deduplication_key import DeduplicationKey
from holdfast.domain.door import parameter_problem
from holdfast.domain.validation import require
from holdfast.ports.errors import ConfigurationError, RequestError
from holdfast.ports.inference import Message, Parameters, Role
from holdfast.ports.service import Request

__all__ = [
    "MAX_RECOGNISED_CHARS",
    "PARAMETER_NAMES",
    "RESERVED_NAMES",
    "ChosenBy",
    "ChosenPersona",
    "Persona",
    "PersonaBook",
]

PARAMETER_NAMES: Final = tuple(parameter.name for parameter in dataclasses.fields(Parameters))
"""Every parameter that a request can set."""

RESERVED_NAMES: Final = frozenset({"off", "status"})
"""What stands in a command where a persona's name would."""

MAX_RECOGNISED_CHARS: Final = 10_000
"""Characters at the beginning of a text that are searched for triggers, about 1 ms of work; unmeasured choice."""

_UNSET: Final = Parameters()
_MAX_TOLD_CHARS: Final = 80  # of a name that is not there


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """Instructions under a name.

    Args:
        name: one word, in any case; neither ``off`` nor ``status``.
        prompt: the instructions, which come first in the prompt; not blank.
        triggers: words that recommend this persona when a text holds them.
        parameters: taken where the request sets none. A response format of text counts as not set.
        allowed_parameters: names of the parameters that a request may set itself.

    Raises:
        ConfigurationError: if one of these is not as said.
    """

    name: str
    prompt: str
    triggers: tuple[str, ...] = ()
    parameters: Parameters = _UNSET
    allowed_parameters: frozenset[str] = frozenset(PARAMETER_NAMES)
    label: str = field(init=False)
    """Name and version, as deduplication takes it; the version changes with prompt and parameters."""

    def __post_init__(self) -> None:
        path = f"personas.{self.name}"
        one_word = self.name.split() == [self.name] and self.name.isprintable()
        require(one_word, "a persona's name is one printable word", path=path)
        require(_folded(self.name) not in RESERVED_NAMES, "is a command; choose another name", path=path)
        require(bool(self.prompt.strip()), "must not be blank", path=f"{path}.prompt")
        for trigger in self.triggers:
            require(
                _words(trigger) == [_folded(trigger)],
                f"a trigger is one word, not {trigger!r}",
                path=f"{path}.triggers",
            )
        unknown = sorted(self.allowed_parameters - set(PARAMETER_NAMES))
        require(
            not unknown,
            f"{', '.join(unknown)}: no such parameter; known: {', '.join(PARAMETER_NAMES)}",
            path=f"{path}.allowed_parameters",
        )
        if problem := parameter_problem(self.parameters):
            parameter, _, message = problem.partition(": ")
            raise ConfigurationError(message, path=f"{path}.parameters.{parameter}")
        version = DeduplicationKey.of(
            tenant="",
            model=None,
            messages=(Message(role=Role.SYSTEM, content=self.prompt),),
            parameters=self.parameters,
        )
        object.__setattr__(self, "label", f"{self.name} {version}")

    def instructed(self, request: Request) -> Request:
        """Return `request` under this persona's name, with its parameters where it sets none itself.

        Raises:
            RequestError: if it sets one that this persona does not leave to it.
        """
        own = {
            name: value for name in PARAMETER_NAMES if (value := getattr(request.parameters, name)) != _default(name)
        }
        refused = [name for name in own if name not in self.allowed_parameters]
        if refused:
            allowed = ", ".join(name for name in PARAMETER_NAMES if name in self.allowed_parameters) or "none"
            raise RequestError(
                f"parameters.{refused[0]}: persona {self.name!r} does not leave it to the request; it allows {allowed}"
            )
        return replace(request, persona=self.name, parameters=replace(self.parameters, **own))


def _default(name: str) -> object:
    return getattr(_UNSET, name)


class ChosenBy(enum.StrEnum):
    """What named the persona that answers."""

    NAME = "name"
    COMMAND = "command"
    SESSION = "session"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenPersona:
    """A persona, and what named it."""

    persona: Persona
    chosen_by: ChosenBy


class PersonaBook:
    """Every persona, in order.

    Args:
        personas: of two that a text recommends equally, the one that comes first here is chosen.

    Raises:
        ConfigurationError: if two names are the same but for case.

    Example:
        >>> book = PersonaBook([
        ...     Persona(name="memory", prompt="You know allocators.", triggers=("memory", "leak")),
        ...     Persona(name="sql", prompt="You know databases.", triggers=("query", "join")),
        ... ])
        >>> book.recognised("Why does this QUERY leak memory?").name
        'memory'
        >>> book.recognised("What is a leakage?") is None
        True
    """

    __slots__ = ("_by_name", "_by_trigger")

    def __init__(self, personas: Iterable[Persona] = ()) -> None:
        self._by_name: dict[str, Persona] = {}
        self._by_trigger: dict[str, list[Persona]] = {}
        for persona in personas:
            same = self._by_name.setdefault(_folded(persona.name), persona)
            require(
                same is persona,
                f"is the same name as personas.{same.name}; cases are not told apart",
                path=f"personas.{persona.name}",
            )
            for trigger in dict.fromkeys(_folded(trigger) for trigger in persona.triggers):
                self._by_trigger.setdefault(trigger, []).append(persona)

    @property
    def names(self) -> tuple[str, ...]:
        """Every persona's name, in order."""
        return tuple(persona.name for persona in self._by_name.values())

    def named(self, name: str) -> Persona:
        """Return the persona of that name, in whatever case it is written.

        Raises:
            RequestError: if there is none; it names those that there are.
        """
        persona = self.find(name)
        if persona is None:
            told = name if len(name) <= _MAX_TOLD_CHARS else f"{name[:_MAX_TOLD_CHARS]}…"
            raise RequestError(f"persona: there is no {told!r}; known: {', '.join(self.names) or 'none'}")
        return persona

    def find(self, name: str) -> Persona | None:
        """Return the persona of that name, in whatever case it is written; None if there is none."""
        return self._by_name.get(_folded(name))

    def recognised(self, text: str) -> Persona | None:
        """Return the persona whose triggers stand in `text` most often; None if none does.

        Complexity: linear in the text, of which `MAX_RECOGNISED_CHARS` characters are read.
        """
        if not self._by_trigger:
            return None
        hits = Counter(persona.name for word in _words(_beginning(text)) for persona in self._by_trigger.get(word, ()))
        # Of equals, max takes the first.
        best = max(self._by_name.values(), key=lambda persona: hits[persona.name])
        return best if hits else None

    def choose(
        self, *, requested: str | None, commanded: str | None, kept: str | None, text: str
    ) -> ChosenPersona | None:
        """Return the persona that answers, and what named it; None if nothing does.

        Args:
            requested: named by the request itself; goes before everything else.
            commanded: named by a command at the beginning of the message.
            kept: named by the session. One that is there no longer is passed over, so that its session goes on.
            text: what is asked, to be searched for triggers if nothing names a persona.

        Raises:
            RequestError: if `requested` or `commanded` names none that there is.
        """
        by_command = None if commanded is None else self.named(commanded)
        if requested is not None:
            return ChosenPersona(persona=self.named(requested), chosen_by=ChosenBy.NAME)
        if by_command is not None:
            return ChosenPersona(persona=by_command, chosen_by=ChosenBy.COMMAND)
        if kept is not None and (by_session := self.find(kept)) is not None:
            return ChosenPersona(persona=by_session, chosen_by=ChosenBy.SESSION)
        by_text = self.recognised(text)
        return None if by_text is None else ChosenPersona(persona=by_text, chosen_by=ChosenBy.TEXT)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold())


def _beginning(text: str) -> str:
    if len(text) <= MAX_RECOGNISED_CHARS:
        return text
    # Without the last word, which the bound may have cut: half a word may be another one.
    return " ".join(text[:MAX_RECOGNISED_CHARS].split()[:-1])


def _words(text: str) -> list[str]:
    return "".join(
        # Marks carry accents in NFD, and vowels in the scripts of India; neither ends a word.
        letter if letter.isalnum() or unicodedata.category(letter).startswith("M") else " "
        for letter in _folded(text)
    ).split()
