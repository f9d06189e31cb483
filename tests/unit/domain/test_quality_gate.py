from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
import pytest

from holdfast.domain.deadline import Deadline
from holdfast.domain.output_judge import OutputAction, OutputJudge, OutputRule
from holdfast.domain.pattern import Pattern
from holdfast.domain.quality_gate import Approved, QualityGate, Repair
from holdfast.domain.retry_budget import RetryBudget, RetryBudgetConfig
from holdfast.ports.errors import BackendUnavailableError, BreakerOpenError, OutputRejectedError, ValidatorError
from holdfast.ports.events import Event, OutputMarked, OutputRejected, OutputRepairAsked, ValidatorFailed
from holdfast.ports.inference import Completion, Message, Role
from holdfast.ports.outcome import Outcome
from holdfast.ports.statistics import OutputStatistics
from holdfast.testing import ManualClock, VirtualClock, cancel_at_checkpoint

pytestmark = pytest.mark.anyio

GOOD = Completion(text="good", model="m")
BAD = Completion(text="bad", model="m")


class Raising:
    """A validator with a bug."""

    name = "broken"

    def check(self, text: str) -> str | None:
        raise ZeroDivisionError(text)


@dataclass
class Sink:
    """Keeps events, and what was counted when each came."""

    counted: Callable[[], OutputStatistics] | None = None
    events: list[Event] = field(default_factory=list[Event])

    def emit(self, event: Event) -> None:
        self.events.append(event)
        if self.counted is not None:
            assert_counted(self.counted())


def must_be_good(action: OutputAction, name: str = "good") -> OutputRule:
    return OutputRule(validator=Pattern(name=name, must_match="good", explanation="is not good"), action=action)


def gate_of(*rules: OutputRule) -> tuple[QualityGate, Sink]:
    sink = Sink()
    gate = QualityGate(OutputJudge(rules), events=sink)
    sink.counted = gate.statistics
    return gate, sink


def assert_counted(counts: OutputStatistics) -> None:
    ended = counts.passed + counts.marked + counts.rejected + counts.failed + counts.abandoned
    assert counts.answers == ended + counts.in_repair
    assert counts.repaired <= counts.passed + counts.marked


def budget(min_retries: int = 3) -> RetryBudget:
    return RetryBudget(RetryBudgetConfig(min_retries=min_retries), clock=ManualClock())


class Mender:
    """Answers what it was given, or raises it; keeps the messages that it was asked with."""

    def __init__(self, *answers: Completion | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[Message, ...]] = []

    async def ask(self, messages: tuple[Message, ...]) -> Completion:
        self.asked.append(messages)
        await anyio.sleep(1)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def repair(
    ask: Callable[[tuple[Message, ...]], Awaitable[Completion]], of: RetryBudget, timeout_s: float = 60.0
) -> Repair:
    return Repair(budget=of, deadline=Deadline.after(timeout_s, VirtualClock()), ask=ask)


@pytest.mark.parametrize("action", list(OutputAction))
async def test_admit_good_answer_goes_out_as_it_is(action: OutputAction) -> None:
    gate, sink = gate_of(must_be_good(action))

    approved = await gate.admit(GOOD, persona=None, backend="a", repair=None)

    assert approved == Approved(completion=GOOD, marks=())
    assert approved.completion is GOOD
    assert sink.events == []
    assert (gate.statistics().answers, gate.statistics().passed) == (1, 1)


@pytest.mark.parametrize(("action", "holds_back"), [(OutputAction.REJECT, True), (OutputAction.MARK, False)])
async def test_gate_holds_back_what_its_judge_may_keep_from_going_out(action: OutputAction, holds_back: bool) -> None:
    gate, _ = gate_of(must_be_good(action))

    assert gate.holds_back(None) is holds_back


async def test_admit_answer_with_a_mark_goes_out_naming_the_validator() -> None:
    gate, sink = gate_of(must_be_good(OutputAction.MARK), must_be_good(OutputAction.MARK, name="better"))

    approved = await gate.admit(BAD, persona=None, backend="a", repair=None)

    assert approved == Approved(completion=BAD, marks=("good", "better"))
    assert sink.events == [
        OutputMarked(validator="good", backend="a"),
        OutputMarked(validator="better", backend="a"),
    ]
    assert (gate.statistics().marked, gate.statistics().passed) == (1, 0)


async def test_admit_answer_that_is_rejected_raises_and_asks_nobody() -> None:
    mender, shared = Mender(GOOD), budget()
    gate, sink = gate_of(must_be_good(OutputAction.REPAIR, name="mends"), must_be_good(OutputAction.REJECT))

    with pytest.raises(OutputRejectedError) as caught:
        await gate.admit(BAD, persona=None, backend="a", repair=repair(mender.ask, shared))

    error = caught.value
    assert (error.validator, error.backend, error.problem) == ("good", "a", "is not good")
    assert mender.asked == []
    assert shared.statistics().asked == 0
    assert sink.events == [OutputRejected(validator="good", backend="a")]
    assert gate.statistics().rejected == 1


async def test_admit_answer_to_be_mended_is_asked_for_again_with_what_is_wrong() -> None:
    mender, shared = Mender(GOOD), budget()
    gate, sink = gate_of(
        must_be_good(OutputAction.REPAIR),
        OutputRule(validator=Pattern(name="short", must_not_match="bad"), action=OutputAction.REPAIR),
    )

    approved = await gate.admit(BAD, persona=None, backend="a", repair=repair(mender.ask, shared))

    assert approved == Approved(completion=GOOD, marks=())
    assert mender.asked == [
        (
            Message(role=Role.ASSISTANT, content="bad"),
            Message(
                role=Role.USER,
                content="Your answer is not good; it matches the pattern 'bad'. "
                "Give the whole answer again, with that mended.",
            ),
        )
    ]
    assert sink.events == [
        OutputRepairAsked(validator="good", backend="a"),
        OutputRepairAsked(validator="short", backend="a"),
    ]
    counts = gate.statistics()
    assert (counts.answers, counts.passed, counts.repairs, counts.repaired, counts.in_repair) == (1, 1, 1, 1, 0)
    assert (shared.statistics().retried, shared.statistics().in_flight) == (1, 0)


async def test_admit_mended_answer_with_a_mark_goes_out_with_it() -> None:
    gate, _ = gate_of(
        must_be_good(OutputAction.REPAIR),
        OutputRule(validator=Pattern(name="loud", must_match="!"), action=OutputAction.MARK),
    )

    approved = await gate.admit(BAD, persona=None, backend="a", repair=repair(Mender(GOOD).ask, budget()))

    assert approved == Approved(completion=GOOD, marks=("loud",))
    assert (gate.statistics().marked, gate.statistics().repaired) == (1, 1)


async def test_admit_answer_that_is_still_wrong_is_rejected_and_not_asked_for_a_third_time() -> None:
    mender, shared = Mender(BAD, GOOD), budget()
    gate, sink = gate_of(must_be_good(OutputAction.REPAIR))

    with pytest.raises(OutputRejectedError, match="is not good"):
        await gate.admit(BAD, persona=None, backend="a", repair=repair(mender.ask, shared))

    assert len(mender.asked) == 1
    assert sink.events == [
        OutputRepairAsked(validator="good", backend="a"),
        OutputRejected(validator="good", backend="a"),
    ]
    counts = gate.statistics()
    assert (counts.rejected, counts.repairs, counts.repaired) == (1, 1, 0)


async def test_admit_mended_answer_that_another_validator_rejects_is_rejected_by_that_one() -> None:
    gate, _ = gate_of(
        must_be_good(OutputAction.REPAIR),
        OutputRule(validator=Pattern(name="calm", must_not_match="!"), action=OutputAction.REJECT),
    )
    loud = Completion(text="good!", model="m")

    with pytest.raises(OutputRejectedError) as caught:
        await gate.admit(BAD, persona=None, backend="a", repair=repair(Mender(loud).ask, budget()))

    assert caught.value.validator == "calm"


async def test_admit_without_leave_to_repair_rejects() -> None:
    gate, _ = gate_of(must_be_good(OutputAction.REPAIR))

    with pytest.raises(OutputRejectedError):
        await gate.admit(BAD, persona=None, backend="a", repair=None)

    assert gate.statistics().repairs == 0


async def test_admit_when_the_budget_has_no_token_left_rejects_and_asks_nobody() -> None:
    mender, shared = Mender(GOOD), budget(min_retries=0)
    gate, sink = gate_of(must_be_good(OutputAction.REPAIR))

    with pytest.raises(OutputRejectedError):
        await gate.admit(BAD, persona=None, backend="a", repair=repair(mender.ask, shared))

    assert mender.asked == []
    assert shared.statistics().without_token == 1
    assert sink.events == [OutputRejected(validator="good", backend="a")]


async def test_admit_when_others_in_flight_leave_no_room_rejects_and_gives_the_token_back() -> None:
    mender, shared = Mender(GOOD), budget(min_retries=1)
    shared.begin().settle(Outcome.SUCCESS)
    other = shared.try_spend()
    assert other is not None
    assert other.try_begin()
    for _ in range(15):
        shared.begin().settle(Outcome.SUCCESS)
    tokens = shared.statistics().tokens
    gate, _ = gate_of(must_be_good(OutputAction.REPAIR))

    with pytest.raises(OutputRejectedError):
        await gate.admit(BAD, persona=None, backend="a", repair=repair(mender.ask, shared))

    assert mender.asked == []
    assert shared.statistics().without_room == 1
    assert shared.statistics().tokens == tokens > 0


async def test_admit_after_the_deadline_rejects_and_leaves_the_budget_alone() -> None:
    mender, shared = Mender(GOOD), budget()
    gate, _ = gate_of(must_be_good(OutputAction.REPAIR))
    late = repair(mender.ask, shared, timeout_s=2.0)
    await anyio.sleep(2)

    with pytest.raises(OutputRejectedError):
        await gate.admit(BAD, persona=None, backend="a", repair=late)

    assert mender.asked == []
    assert shared.statistics().asked == 0


@pytest.mark.parametrize(
    "failure", [BackendUnavailableError("down", backend="a"), BreakerOpenError(breaker="a", retry_after_s=1.0)]
)
async def test_admit_repair_that_fails_rejects_the_answer_with_the_failure_as_its_cause(failure: Exception) -> None:
    shared = budget()
    gate, sink = gate_of(must_be_good(OutputAction.REPAIR))

    with pytest.raises(OutputRejectedError, match="is not good") as caught:
        await gate.admit(BAD, persona=None, backend="a", repair=repair(Mender(failure).ask, shared))

    assert caught.value.__cause__ is failure
    assert sink.events[-1] == OutputRejected(validator="good", backend="a")
    assert (shared.statistics().retries_in_flight, shared.statistics().retried) == (0, 1)
    assert (gate.statistics().rejected, gate.statistics().in_repair) == (1, 0)


async def test_admit_holds_a_place_in_flight_while_it_asks_and_none_after() -> None:
    shared = budget()
    gate, _ = gate_of(must_be_good(OutputAction.REPAIR))
    seen: list[tuple[int, int]] = []

    async def ask(messages: tuple[Message, ...]) -> Completion:
        seen.append((shared.statistics().retries_in_flight, gate.statistics().in_repair))
        return GOOD

    await gate.admit(BAD, persona=None, backend="a", repair=repair(ask, shared))

    assert seen == [(1, 1)]
    assert shared.statistics().retries_in_flight == 0


async def test_admit_validator_that_raises_fails_this_answer_and_no_other() -> None:
    sink = Sink()
    judge = OutputJudge([OutputRule(validator=Raising(), action=OutputAction.MARK)], reserved={"unlucky": ["broken"]})
    gate = QualityGate(judge, events=sink)

    with pytest.raises(ValidatorError, match=r"^validator 'broken': failed while it checked") as caught:
        await gate.admit(GOOD, persona="unlucky", backend="a", repair=None)
    approved = await gate.admit(GOOD, persona=None, backend="a", repair=None)

    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert approved.completion is GOOD
    assert sink.events == [ValidatorFailed(validator="broken", error="ZeroDivisionError")]
    assert (gate.statistics().failed, gate.statistics().passed) == (1, 1)


async def test_admit_validator_that_raises_at_the_mended_answer_gives_the_permit_back() -> None:
    class RaisingAtGood:
        name = "fragile"

        def check(self, text: str) -> str | None:
            if text == "good":
                raise ZeroDivisionError
            return "is bad"

    shared = budget()
    gate, _ = gate_of(OutputRule(validator=RaisingAtGood(), action=OutputAction.REPAIR))

    with pytest.raises(ValidatorError):
        await gate.admit(BAD, persona=None, backend="a", repair=repair(Mender(GOOD).ask, shared))

    assert (gate.statistics().failed, gate.statistics().in_repair) == (1, 0)
    assert shared.statistics().retries_in_flight == 0


async def test_admit_without_a_sink_counts_the_same() -> None:
    gate = QualityGate(OutputJudge([must_be_good(OutputAction.MARK), must_be_good(OutputAction.REPAIR, name="again")]))
    mender = Mender(GOOD, BAD)

    await gate.admit(BAD, persona=None, backend="a", repair=repair(mender.ask, budget()))
    with pytest.raises(OutputRejectedError):
        await gate.admit(BAD, persona=None, backend="a", repair=repair(mender.ask, budget()))

    counts = gate.statistics()
    assert (counts.answers, counts.passed, counts.rejected, counts.repairs) == (2, 1, 1, 2)


async def test_admit_cancelled_while_it_asks_again_gives_everything_back() -> None:
    shared = budget()
    gate, sink = gate_of(must_be_good(OutputAction.REPAIR))

    async def scenario() -> None:
        await gate.admit(BAD, persona=None, backend="a", repair=repair(Mender(GOOD).ask, shared))

    assert await cancel_at_checkpoint(scenario(), 1)
    counts = gate.statistics()
    assert (counts.answers, counts.abandoned, counts.in_repair, counts.rejected) == (1, 1, 0, 0)
    assert (shared.statistics().in_flight, shared.statistics().waiting) == (0, 0)
    assert sink.events == [OutputRepairAsked(validator="good", backend="a")]
