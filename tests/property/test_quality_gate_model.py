"""The quality gate against a model, over any rules, answers and ways in which a repair can end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import anyio
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.deadline import Deadline
from holdfast.domain.output_judge import OutputAction, OutputJudge, OutputRule
from holdfast.domain.quality_gate import QualityGate, Repair
from holdfast.domain.retry_budget import RetryBudget, RetryBudgetConfig
from holdfast.ports.errors import BackendUnavailableError, OutputRejectedError, ValidatorError
from holdfast.ports.inference import Completion, Message
from holdfast.testing import ManualClock

LETTERS = "abc"


@dataclass(frozen=True)
class Wants:
    """Wants one letter in the answer; raises at an answer that holds an exclamation mark, if it is fragile."""

    name: str
    fragile: bool

    def check(self, text: str) -> str | None:
        if self.fragile and "!" in text:
            raise ArithmeticError
        return None if self.name in text else f"lacks {self.name}"


ANSWERS = st.text(alphabet=f"{LETTERS}!", max_size=4)
RULES = st.permutations(LETTERS).flatmap(
    lambda letters: st.lists(
        st.tuples(st.sampled_from(list(OutputAction)), st.booleans()), min_size=len(letters), max_size=len(letters)
    ).map(
        lambda how: [
            OutputRule(validator=Wants(letter, fragile), action=action)
            for letter, (action, fragile) in zip(letters, how, strict=True)
        ]
    )
)


def judged(text: str, rules: Sequence[OutputRule]) -> tuple[str, list[str]]:
    """Return what has to happen, and the validators that are to blame or leave a mark."""
    found: list[OutputRule] = []
    for rule in rules:
        try:
            wrong = rule.validator.check(text) is not None
        except ArithmeticError:
            return "failed", [rule.validator.name]
        if wrong and rule.action is OutputAction.REJECT:
            return "rejected", [rule.validator.name]
        found += [rule] if wrong else []
    mendable = [rule.validator.name for rule in found if rule.action is OutputAction.REPAIR]
    marks = [rule.validator.name for rule in found if rule.action is OutputAction.MARK]
    return ("mend", mendable) if mendable else ("passed", marks)


def expected(
    first: str, second: str | None, rules: Sequence[OutputRule], *, may_repair: bool
) -> tuple[str, list[str], int]:
    """Return how it ends, who is named, and how often the backend is asked again."""
    end, named = judged(first, rules)
    if end != "mend":
        return end, named, 0
    if not may_repair:
        return "rejected", named[:1], 0
    if second is None:
        return "rejected", named[:1], 1
    end, named = judged(second, rules)
    return ("rejected", named[:1], 1) if end == "mend" else (end, named, 1)


@given(
    first=ANSWERS,
    second=ANSWERS | st.none(),
    rules=RULES,
    has_token=st.booleans(),
    idempotent=st.booleans(),
)
def test_any_answer_ends_as_the_model_says_and_everything_is_counted_and_given_back(
    *, first: str, second: str | None, rules: list[OutputRule], has_token: bool, idempotent: bool
) -> None:
    clock = ManualClock()
    budget = RetryBudget(RetryBudgetConfig(min_retries=1 if has_token else 0), clock=clock)
    gate = QualityGate(OutputJudge(rules))
    asked: list[tuple[Message, ...]] = []

    async def ask(messages: tuple[Message, ...]) -> Completion:
        asked.append(messages)
        if second is None:
            raise BackendUnavailableError("down", backend="a")
        return Completion(text=second, model="m")

    async def scenario() -> tuple[str, list[str], int]:
        repair = Repair(budget=budget, deadline=Deadline.after(9.0, clock), ask=ask) if idempotent else None
        answer = Completion(text=first, model="m")
        try:
            approved = await gate.admit(answer, persona=None, backend="a", repair=repair)
        except OutputRejectedError as error:
            return "rejected", [error.validator], len(asked)
        except ValidatorError as error:
            return "failed", [error.validator], len(asked)
        assert approved.completion.text == (second if asked else first)
        return "passed", list(approved.marks), len(asked)

    ended = anyio.run(scenario)

    assert ended == expected(first, second, rules, may_repair=has_token and idempotent)
    counts, spent = gate.statistics(), budget.statistics()
    assert counts.answers == counts.passed + counts.marked + counts.rejected + counts.failed == 1
    assert (counts.in_repair, counts.abandoned, counts.repairs) == (0, 0, len(asked))
    assert (spent.in_flight, spent.waiting, spent.retried) == (0, 0, len(asked))
