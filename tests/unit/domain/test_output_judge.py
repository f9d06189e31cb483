from __future__ import annotations

import pytest

from holdfast.domain.output_judge import Flaw, Judgement, OutputAction, OutputJudge, OutputRule
from holdfast.ports.errors import ValidatorError


class Finding:
    """Finds the same in every text, or raises it; keeps what it was asked."""

    def __init__(self, name: str, finds: str | Exception | None) -> None:
        self.name = name
        self._finds = finds
        self.asked: list[str] = []

    def check(self, text: str) -> str | None:
        self.asked.append(text)
        if isinstance(self._finds, Exception):
            raise self._finds
        return self._finds


def rule(name: str, finds: str | Exception | None = "is wrong", action: OutputAction = OutputAction.MARK) -> OutputRule:
    return OutputRule(validator=Finding(name, finds), action=action)


def test_judge_without_validators_finds_nothing() -> None:
    assert OutputJudge(()).judge("42", persona="anybody") == Judgement()


@pytest.mark.parametrize("action", list(OutputAction))
def test_judge_answer_that_passes_finds_nothing_whatever_the_action(action: OutputAction) -> None:
    judgement = OutputJudge([rule("a", None, action)]).judge("42", persona=None)

    assert judgement == Judgement()
    assert judgement.flaw is None


def test_judge_hands_each_action_what_its_validators_found_in_order() -> None:
    judge = OutputJudge(
        [
            rule("m1", "is pale"),
            rule("r1", "lacks a", OutputAction.REPAIR),
            rule("fine", None),
            rule("r2", "lacks b", OutputAction.REPAIR),
            rule("m2", "is loud"),
        ]
    )

    judgement = judge.judge("42", persona=None)

    assert judgement == Judgement(
        mendable=(Flaw(validator="r1", problem="lacks a"), Flaw(validator="r2", problem="lacks b")), marks=("m1", "m2")
    )
    assert judgement.flaw == Flaw(validator="r1", problem="lacks a")


def test_judge_rejection_goes_before_everything_and_later_validators_are_not_asked() -> None:
    later = Finding("later", None)
    judge = OutputJudge(
        [
            rule("marks"),
            rule("mends", action=OutputAction.REPAIR),
            rule("no", "is rude", OutputAction.REJECT),
            OutputRule(validator=later, action=OutputAction.REJECT),
        ]
    )

    judgement = judge.judge("42", persona=None)

    assert judgement == Judgement(rejected=Flaw(validator="no", problem="is rude"))
    assert judgement.flaw == Flaw(validator="no", problem="is rude")
    assert later.asked == []


def test_judge_asks_each_validator_once_with_the_text() -> None:
    validator = Finding("a", None)

    OutputJudge([OutputRule(validator=validator, action=OutputAction.REPAIR)]).judge("42", persona=None)

    assert validator.asked == ["42"]


@pytest.mark.parametrize(
    ("persona", "marks"),
    [
        (None, ("every",)),
        ("nobody", ("every",)),
        ("clerk", ("first", "every", "both")),
        ("poet", ("every", "both", "last")),
        ("mute", ("every",)),
    ],
)
def test_judge_validator_that_personas_name_checks_theirs_and_any_other_checks_all(
    persona: str | None, marks: tuple[str, ...]
) -> None:
    judge = OutputJudge(
        [rule("first"), rule("every"), rule("both"), rule("last")],
        reserved={"clerk": ["both", "first"], "poet": ["last", "both"], "mute": []},
    )

    assert judge.judge("42", persona=persona).marks == marks


@pytest.mark.parametrize("raised", [LookupError("x"), RecursionError(), MemoryError(), OverflowError("y")])
@pytest.mark.parametrize("action", list(OutputAction))
def test_judge_validator_that_raises_is_named_and_its_error_is_the_cause(
    raised: Exception, action: OutputAction
) -> None:
    judge = OutputJudge([rule("broken", raised, action)])

    with pytest.raises(ValidatorError, match="'broken'") as caught:
        judge.judge("42", persona=None)

    assert caught.value.validator == "broken"
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize(
    ("action", "holds_back"), [(OutputAction.REJECT, True), (OutputAction.REPAIR, True), (OutputAction.MARK, False)]
)
def test_judge_holds_back_the_answers_that_it_may_keep_from_going_out(action: OutputAction, holds_back: bool) -> None:
    judge = OutputJudge([rule("every"), rule("some", action=action)], reserved={"clerk": ["some"]})

    assert judge.holds_back(persona="clerk") is holds_back
    assert judge.holds_back(persona=None) is False
    assert judge.holds_back(persona="nobody") is False
