"""From what a backend said to what goes out.

Responsibility: post-process an answer, have it validated, and have its backend asked again where it is to be mended.
Guarantees: a repair goes to the backend that gave the answer, as one attempt behind its breaker, limits and pool; what
    it took is added to what the answer took; it carries an idempotency key of its own, because a backend that
    recognises a repeat would give the same answer again.
Not responsible for: what passes, and whether a repair is asked for: see `holdfast.domain.quality_gate`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from holdfast.application.route import Tally
from holdfast.application.routing import Routed
from holdfast.domain.deadline import Deadline
from holdfast.domain.post_processing import is_seen_whole, post_process
from holdfast.domain.quality_gate import QualityGate, Repair
from holdfast.ports.inference import Completion, Message, Parameters, Prompt, Usage
from holdfast.ports.statistics import OutputStatistics

__all__ = ["Finished", "Finishing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """An answer that goes out, and what it took.

    Args:
        completion: the answer; its usage is that of all attempts that answered.
        attempts: calls made, over all backends.
        marks: names of the validators that it did not pass.
    """

    completion: Completion
    attempts: int
    marks: tuple[str, ...] = ()


class Finishing:
    """Finishes answers.

    Args:
        gate: lets them out; None lets everything out.
    """

    def __init__(self, gate: QualityGate | None) -> None:
        self._gate = gate

    def holds_back(self, parameters: Parameters, persona: str | None) -> bool:
        """Return whether all of an answer has to be seen before any of it may go out."""
        return is_seen_whole(parameters) or (self._gate is not None and self._gate.holds_back(persona))

    async def finish(
        self, routed: Routed, prompt: Prompt, *, persona: str | None, idempotent: bool, deadline: Deadline
    ) -> Finished:
        """Return the answer as it goes out.

        Args:
            routed: what a backend said.
            prompt: what it was asked.
            persona: whose answer it is.
            idempotent: whether it may be asked again.
            deadline: of the whole request.

        Raises:
            OutputError: it does not go out.

        Cancellation: leaves the backend, if it is being asked again.
        """
        completion = post_process(routed.completion, prompt.parameters)
        calls_tools = bool(completion.tool_calls) and not completion.text.strip()
        if self._gate is None or calls_tools:  # a call of tools is no answer yet
            return Finished(completion=completion, attempts=routed.attempts)
        tally = Tally()

        async def ask(messages: tuple[Message, ...]) -> Completion:
            # As what is not idempotent, because that is called once, without retries and hedges.
            mended = await routed.route.complete(
                _repeated(prompt, messages), deadline=deadline, tally=tally, idempotent=False
            )
            usage = _sum(routed.completion.usage, mended.usage)
            return replace(post_process(mended, prompt.parameters), usage=usage)

        approved = await self._gate.admit(
            completion,
            persona=persona,
            backend=routed.route.name,
            repair=Repair(budget=routed.route.budget, deadline=deadline, ask=ask) if idempotent else None,
        )
        return Finished(completion=approved.completion, attempts=routed.attempts + tally.attempts, marks=approved.marks)

    def statistics(self) -> OutputStatistics | None:
        """Return what became of the answers that validators checked; None where there are no validators."""
        return None if self._gate is None else self._gate.statistics()


def _repeated(prompt: Prompt, messages: tuple[Message, ...]) -> Prompt:
    key = None if prompt.idempotency_key is None else f"{prompt.idempotency_key}-repair"
    return replace(prompt, messages=(*prompt.messages, *messages), idempotency_key=key)


def _sum(first: Usage, second: Usage) -> Usage:
    return Usage(
        input_tokens=first.input_tokens + second.input_tokens, output_tokens=first.output_tokens + second.output_tokens
    )
