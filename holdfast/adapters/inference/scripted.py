"""A backend that does as it is told.

Responsibility: `StreamingBackend` from a script: answers, whole or in pieces, delays, faults and hangs, for tests,
    demonstrations and load trials.
Guarantees: the script is asked once for each call, in order of arrival; whatever ends a call, a cancellation included,
    it is no longer in flight afterwards; all waiting is done on the given clock.
Not responsible for: looking like a model: the text is what the script says, and usage is zero.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self, assert_never

import anyio

from holdfast.ports.clock import Clock
from holdfast.ports.inference import Completion, Deliver, Prompt, StreamingBackend, Usage

__all__ = ["Answer", "Fault", "Hang", "Pieces", "Script", "ScriptedBackend", "Step", "in_turn"]

_PROMPTS_KEPT: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Answer with `text` after `delay_s` seconds."""

    text: str
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Raise a copy of `error` after `delay_s` seconds."""

    error: Exception
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Hang:
    """Never answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """Answer piece by piece, the first after `delay_s` seconds and each further one after `between_s`.

    Args:
        pieces: what the answer consists of; a call that does not stream gets them as one text, at the end.
        delay_s: seconds before the first piece.
        between_s: seconds before each further one.
        usage: tokens that the answer says it took.
        ending: what comes in place of the end, if the answer is to be cut.
    """

    pieces: tuple[str, ...]
    delay_s: float = 0.0
    between_s: float = 0.0
    usage: Usage = Usage()
    ending: Fault | Hang | None = None


Step = Answer | Pieces | Fault | Hang
Script = Callable[[Prompt], Step]
"""Says what to do with one call."""


def in_turn(first: Step, *then: Step) -> Script:
    """Return a script of one step after the other, whatever the prompts; the last one is repeated.

    Example:
        >>> script = in_turn(Hang(), Answer(text="yes"))
        >>> [script(Prompt(messages=())) for _ in range(3)]
        [Hang(), Answer(text='yes', delay_s=0.0), Answer(text='yes', delay_s=0.0)]
    """
    left = deque((first, *then))

    def script(_: Prompt) -> Step:
        return left.popleft() if len(left) > 1 else left[0]

    return script


class ScriptedBackend:
    """Follows a script; any number of calls at once.

    Args:
        name: its name, also that of the model in its completions.
        script: what to do with each call.
        clock: what delays are waited on.

    Attributes:
        calls: how many it got.
        in_flight: how many it is working on.
        peak_in_flight: the most it ever worked on at once.
        prompts: the last 1000 prompts, oldest first.
    """

    def __init__(self, name: str, script: Script, *, clock: Clock) -> None:
        self._name = name
        self._script = script
        self._clock = clock
        self._prompts: deque[Prompt] = deque(maxlen=_PROMPTS_KEPT)
        self.calls = 0
        self.in_flight = 0
        self.peak_in_flight = 0

    @classmethod
    def repeating(cls, name: str, text: str, *, delay_s: float = 0.0, clock: Clock) -> Self:
        """Return a backend that gives the same answer to everything, after `delay_s` seconds."""
        return cls(name, in_turn(Answer(text=text, delay_s=delay_s)), clock=clock)

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """Return the last prompts, oldest first."""
        return tuple(self._prompts)

    async def complete(self, prompt: Prompt) -> Completion:
        """Do what the script says.

        Raises:
            Exception: a copy of the one in the script.
        """
        return await self._call(prompt, _drop)

    async def stream(self, prompt: Prompt, deliver: Deliver) -> Completion:
        """Do what the script says, piece by piece; an `Answer` is one piece.

        Raises:
            Exception: a copy of the one in the script, or whatever `deliver` raises.
        """
        return await self._call(prompt, deliver)

    async def _call(self, prompt: Prompt, deliver: Deliver) -> Completion:
        self.calls += 1
        self._prompts.append(prompt)
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        try:
            return await self._follow(self._script(prompt), deliver)
        finally:
            self.in_flight -= 1

    async def _follow(self, step: Step, deliver: Deliver) -> Completion:
        match step:
            case Answer():
                await self._clock.sleep(step.delay_s)
                await deliver(step.text)
                return Completion(text=step.text, model=self._name)
            case Pieces():
                for number, piece in enumerate(step.pieces):
                    await self._clock.sleep(step.between_s if number else step.delay_s)
                    await deliver(piece)
                if step.ending is not None:
                    return await self._follow(step.ending, deliver)
                return Completion(text="".join(step.pieces), model=self._name, usage=step.usage)
            case Fault():
                await self._clock.sleep(step.delay_s)
                # A copy: calls in flight together must not share a traceback.
                raise copy.copy(step.error)
            case Hang():
                while True:  # which type checkers take to be endless
                    await anyio.sleep_forever()
            case _:
                assert_never(step)


async def _drop(_: str) -> None:
    """Take a piece that nobody reads."""


_: type[StreamingBackend] = ScriptedBackend
