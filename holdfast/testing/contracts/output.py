"""What every output validator must hold.

Responsibility: the contract of `holdfast.ports.output.OutputValidator`, as a pytest class to derive from.
Guarantees: a validator that passes judges any text at once, the same way each time, and tells nothing of it.
Not responsible for: what a validator is there to find; each decides that for itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import pytest

from holdfast.ports.output import OutputValidator

__all__ = ["OutputValidatorContract"]

_MARKER = "zebra-7351"
_MAX_PROBLEM_CHARS = 1000

_HOSTILE = (
    "",
    " ",
    "\0",
    "\ud800",
    "\\",
    '"',
    '"\\ud800"',
    "NaN",
    "-Infinity",
    "1e999",
    "-" + "9" * 5000,
    "[" * 50_000,
    '{"a":' * 20_000,
    "[" * 300 + "]" * 300,
    "a" * 99_999,
    "a" * 1_000_000,
    "\n" * 50_000,
    "{}" * 10_000,
)


class OutputValidatorContract(ABC):
    """Derive from it, name the class ``Test…`` and make your validator; pytest does the rest.

    Example:
        >>> class TestShort(OutputValidatorContract):
        ...     def make_validator(self, name: str) -> OutputValidator:
        ...         return ShorterThan(name, chars=20)
        ...
        ...     def good_text(self) -> str:
        ...         return "short"
        ...
        ...     def bad_text(self, marker: str) -> str:
        ...         return marker * 20
    """

    @abstractmethod
    def make_validator(self, name: str) -> OutputValidator:
        """Return a new validator of that name."""

    @abstractmethod
    def good_text(self) -> str:
        """Return a text that passes."""

    @abstractmethod
    def bad_text(self, marker: str) -> str:
        """Return a text that does not pass, and holds `marker`."""

    @pytest.fixture
    def validator(self) -> OutputValidator:
        """Give a validator."""
        return self.make_validator("strict")

    def test_name_is_the_one_that_it_was_given(self, validator: OutputValidator) -> None:
        """Errors, events and marks name the validator as the settings do."""
        assert validator.name == "strict"

    def test_check_good_text_finds_nothing(self, validator: OutputValidator) -> None:
        """None, and not an empty text, says that nothing is wrong."""
        assert validator.check(self.good_text()) is None

    def test_check_bad_text_says_what_is_wrong_in_one_short_line(self, validator: OutputValidator) -> None:
        """The words go to the model that shall mend the answer, into an error and into logs."""
        problem = validator.check(self.bad_text(_MARKER))

        assert problem
        assert problem.isprintable()
        assert problem.strip() == problem
        assert len(problem) <= _MAX_PROBLEM_CHARS

    def test_check_bad_text_repeats_nothing_of_it(self, validator: OutputValidator) -> None:
        """An answer may hold what must not be in a log."""
        text = self.bad_text(_MARKER)
        problem = validator.check(text)

        assert _MARKER in text
        assert problem is not None
        assert _MARKER not in problem

    def test_check_same_text_again_judges_the_same(self, validator: OutputValidator) -> None:
        """One instance serves every request, in any order."""
        texts = [self.good_text(), self.bad_text(_MARKER), self.good_text(), self.bad_text(_MARKER)]

        first, second, third, fourth = (validator.check(text) for text in texts)

        assert (first, second) == (third, fourth)

    @pytest.mark.parametrize("text", _HOSTILE, ids=lambda text: f"{text[:8]!a}-{len(text)}")
    def test_check_hostile_text_is_judged_and_raises_nothing(self, validator: OutputValidator, text: str) -> None:
        """Whatever a model writes, too deep, too long or no text that can be encoded, is at most wrong."""
        problem = validator.check(text)

        assert problem is None or (problem and problem.isprintable() and len(problem) <= _MAX_PROBLEM_CHARS)
