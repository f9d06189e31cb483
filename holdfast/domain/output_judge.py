"""What the validators find in an answer, and what is to follow.

Responsibility: which validators an answer has to pass, and what they find.
Guarantees: each validator is asked once for an answer, in order, until one finds something and rejects; whatever one
    raises comes as `ValidatorError`, with its name.
Not responsible for: acting on it (`holdfast.domain.quality_gate`); what is wrong with an answer
    (`holdfast.ports.output.OutputValidator`).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import assert_never

from holdfast.ports.errors import ValidatorError
from holdfast.ports.output import OutputValidator

__all__ = ["Flaw", "Judgement", "OutputAction", "OutputJudge", "OutputRule"]


class OutputAction(enum.StrEnum):
    """What follows when a validator finds something."""

    REJECT = "reject"
    """The request fails."""
    REPAIR = "repair"
    """The backend is asked to mend its answer, once; what does not pass then fails."""
    MARK = "mark"
    """The answer goes out, and its reply names the validator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRule:
    """A validator, and what follows when it finds something."""

    validator: OutputValidator
    action: OutputAction


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """What a validator found, in its words."""

    validator: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What was found in one answer.

    Args:
        rejected: by the first validator that rejects.
        mendable: by those that want a repair.
        marks: names of those that leave a mark.
    """

    rejected: Flaw | None = None
    mendable: tuple[Flaw, ...] = ()
    marks: tuple[str, ...] = ()

    @property
    def flaw(self) -> Flaw | None:
        """What keeps the answer from going out as it is."""
        return self.rejected or next(iter(self.mendable), None)


class OutputJudge:
    """Asks the validators.

    A validator that personas name checks the answers of those personas; one that no persona names checks every answer.

    Args:
        rules: in the order in which validators are asked.
        reserved: the validators that each persona names, by the persona's name.

    Example:
        >>> from holdfast.domain.pattern import Pattern
        >>> cited = OutputRule(validator=Pattern(name="cited", must_match="§"), action=OutputAction.MARK)
        >>> judge = OutputJudge([cited], reserved={"scholar": ["cited"]})
        >>> judge.judge("It is 42.", persona="scholar").marks, judge.judge("It is 42.", persona=None).marks
        (('cited',), ())
    """

    __slots__ = ("_by_persona", "_common")

    def __init__(self, rules: Iterable[OutputRule], *, reserved: Mapping[str, Iterable[str]] | None = None) -> None:
        in_order = tuple(rules)
        named = {persona: set(names) for persona, names in (reserved or {}).items()}
        of_some = set[str]().union(*named.values())
        self._common = tuple(rule for rule in in_order if rule.validator.name not in of_some)
        self._by_persona = {
            persona: tuple(
                rule for rule in in_order if rule.validator.name not in of_some or rule.validator.name in names
            )
            for persona, names in named.items()
        }

    def holds_back(self, *, persona: str | None) -> bool:
        """Return whether an answer of `persona` may be kept from going out, so that all of it has to be seen first."""
        return any(rule.action is not OutputAction.MARK for rule in self._rules_for(persona))

    def judge(self, text: str, *, persona: str | None) -> Judgement:
        """Return what the validators find in `text`, an answer of `persona` or of none.

        Raises:
            ValidatorError: a validator raised.
        """
        mendable: list[Flaw] = []
        marks: list[str] = []
        for rule in self._rules_for(persona):
            flaw = _found_by(rule.validator, text)
            if flaw is None:
                continue
            match rule.action:
                case OutputAction.REJECT:
                    return Judgement(rejected=flaw)
                case OutputAction.REPAIR:
                    mendable.append(flaw)
                case OutputAction.MARK:
                    marks.append(flaw.validator)
                case _:
                    assert_never(rule.action)
        return Judgement(mendable=tuple(mendable), marks=tuple(marks))

    def _rules_for(self, persona: str | None) -> tuple[OutputRule, ...]:
        return self._common if persona is None else self._by_persona.get(persona, self._common)


def _found_by(validator: OutputValidator, text: str) -> Flaw | None:
    try:
        problem = validator.check(text)
    except Exception as error:
        raise ValidatorError(validator=validator.name) from error
    return None if problem is None else Flaw(validator=validator.name, problem=problem)
