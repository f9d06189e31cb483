"""Whether an answer goes out: as it is, mended, marked or not at all.

Responsibility: act on what the validators find in an answer.
Guarantees: an answer goes out only when no validator is left that rejects it or wants it mended; a backend is asked to
    mend its answer once at most, if its retry budget and the deadline allow that, with no permit held but that of the
    repair; a validator that raises fails the request whose answer it checked, and no other; after a cancellation every
    count is back.
Not responsible for: what the validators find (`holdfast.domain.output_judge`), and how a backend is asked again, which
    is handed in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

from holdfast.domain.deadline import Deadline
from holdfast.domain.outcomes import classify
from holdfast.domain.output_judge import Flaw, Judgement, OutputJudge
from holdfast.domain.retry_budget import RetryBudget, RetryPermit
from holdfast.ports.errors import OutputRejectedError, ValidatorError
from holdfast.ports.events import EventSink, OutputMarked, OutputRejected, OutputRepairAsked, ValidatorFailed
from holdfast.ports.inference import Completion, Message, Role
from holdfast.ports.outcome import Outcome
from holdfast.ports.statistics import OutputStatistics

__all__ = ["Approved", "QualityGate", "Repair"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """An answer that goes out.

    Args:
        completion: as it goes out.
        marks: names of the validators that it did not pass, and that let it through.
    """

    completion: Completion
    marks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """How the backend that gave an answer is asked to mend it.

    Args:
        budget: of that backend; the repair is one retry to it.
        deadline: once it has passed, nothing is asked.
        ask: asks once, without retries, with these messages behind those that were asked before.
    """

    budget: RetryBudget
    deadline: Deadline
    ask: Callable[[tuple[Message, ...]], Awaitable[Completion]]


class QualityGate:
    """Lets answers out. For one event loop.

    Args:
        judge: asks the validators.
        events: hears of what they found.
    """

    __slots__ = ("_counts", "_events", "_judge")

    def __init__(self, judge: OutputJudge, *, events: EventSink | None = None) -> None:
        self._judge = judge
        self._events = events
        self._counts = _Counts()

    def holds_back(self, persona: str | None) -> bool:
        """Return whether an answer of `persona` may be kept from going out, so that all of it has to be seen first."""
        return self._judge.holds_back(persona=persona)

    async def admit(
        self, completion: Completion, *, persona: str | None, backend: str, repair: Repair | None
    ) -> Approved:
        """Return the answer as it goes out.

        Args:
            completion: what the backend said.
            persona: whose answer it is; None for nobody's.
            backend: name of the backend.
            repair: how to have it mended; None if it must not be asked again.

        Raises:
            OutputRejectedError: it did not pass; nor after its repair, if there was one. Its cause is what the backend
                raised, if the repair failed at that.
            ValidatorError: a validator raised.

        Cancellation: while the backend is asked again; its permit is given back.
        """
        counts = self._counts
        counts.answers += 1
        judgement = self._judged(completion, persona)
        repaired = False
        if judgement.rejected is None and judgement.mendable and repair is not None:
            permit = _permit_for(repair)
            if permit is not None:
                completion = await self._mended(completion, judgement.mendable, backend, repair, permit)
                judgement = self._judged(completion, persona)
                repaired = True
        if judgement.flaw is not None:
            raise self._rejection(judgement.flaw, backend)
        counts.repaired += repaired
        if judgement.marks:
            counts.marked += 1
        else:
            counts.passed += 1
        if self._events is not None:
            for validator in judgement.marks:
                self._events.emit(OutputMarked(validator=validator, backend=backend))
        return Approved(completion=completion, marks=judgement.marks)

    def statistics(self) -> OutputStatistics:
        """Return what became of the answers so far."""
        return OutputStatistics(**asdict(self._counts))

    def _judged(self, completion: Completion, persona: str | None) -> Judgement:
        try:
            return self._judge.judge(completion.text, persona=persona)
        except ValidatorError as error:
            self._counts.failed += 1
            if self._events is not None:
                self._events.emit(ValidatorFailed(validator=error.validator, error=type(error.__cause__).__name__))
            raise

    async def _mended(
        self, completion: Completion, flaws: tuple[Flaw, ...], backend: str, repair: Repair, permit: RetryPermit
    ) -> Completion:
        self._counts.repairs += 1
        self._counts.in_repair += 1
        if self._events is not None:
            for flaw in flaws:
                self._events.emit(OutputRepairAsked(validator=flaw.validator, backend=backend))
        try:
            return await self._asked(repair, _correspondence(completion, flaws), permit)
        except Exception as error:
            raise self._rejection(flaws[0], backend) from error

    async def _asked(self, repair: Repair, messages: tuple[Message, ...], permit: RetryPermit) -> Completion:
        outcome: Outcome | None = None
        try:
            mended = await repair.ask(messages)
            outcome = Outcome.SUCCESS
        except Exception as error:
            outcome = classify(error).outcome
            raise
        finally:
            self._counts.in_repair -= 1
            self._counts.abandoned += outcome is None
            permit.settle(outcome)
        return mended

    def _rejection(self, flaw: Flaw, backend: str) -> OutputRejectedError:
        self._counts.rejected += 1
        if self._events is not None:
            self._events.emit(OutputRejected(validator=flaw.validator, backend=backend))
        return OutputRejectedError(validator=flaw.validator, backend=backend, problem=flaw.problem)


def _permit_for(repair: Repair) -> RetryPermit | None:
    if repair.deadline.has_passed():
        return None
    permit = repair.budget.try_spend()
    return permit if permit is not None and permit.try_begin() else None


def _correspondence(completion: Completion, flaws: tuple[Flaw, ...]) -> tuple[Message, ...]:
    problems = "; it ".join(flaw.problem for flaw in flaws)
    return (
        Message(role=Role.ASSISTANT, content=completion.text),
        Message(role=Role.USER, content=f"Your answer {problems}. Give the whole answer again, with that mended."),
    )


@dataclass(slots=True)
class _Counts:
    answers: int = 0
    passed: int = 0
    marked: int = 0
    rejected: int = 0
    failed: int = 0
    abandoned: int = 0
    in_repair: int = 0
    repairs: int = 0
    repaired: int = 0
