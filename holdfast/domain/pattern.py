"""Answers that match a pattern, or must not.

Responsibility: `OutputValidator` for regular expressions.
Guarantees: patterns are compiled when the validator is made; an answer beyond `max_chars` is not searched, and does not
    pass.
Not responsible for: how long a pattern takes. Python's `re` backtracks, so a pattern such as ``(a+)+$`` takes time that
    doubles with each character, on the event loop, and no bound on the text helps against that. Patterns come from the
    settings and are trusted: leave out repetitions within repetitions. The text comes from a model and is not trusted,
    so it is bounded, for the patterns that take the square of its length.
Source: on the hazard, OWASP "Regular expression Denial of Service".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from holdfast.domain.validation import require, require_at_least
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.output import MAX_CHECKED_CHARS, OutputValidator

__all__ = ["Pattern"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    r"""Wants an answer in which one pattern is found, or another is not.

    A pattern is searched for anywhere; anchor it with ``\A`` and ``\Z`` to judge the whole answer.

    Args:
        name: how it is called.
        must_match: has to be found; None for nothing.
        must_not_match: must not be found; None for nothing. One of the two is given at least.
        explanation: what to say of an answer that does not pass, following on "The answer"; None shows the pattern.
        max_chars: an answer of more characters does not pass; default 100 000, unmeasured.

    Raises:
        ConfigurationError: if there is no pattern, one is not valid, or `max_chars` is below 1.

    Example:
        >>> validator = Pattern(name="cited", must_match=r"\[.+ § .+\]", explanation="cites nothing")
        >>> validator.check("It is 42."), validator.check("It is 42 [guide.md § Deep Thought].")
        ('cites nothing', None)
    """

    name: str
    must_match: str | None = None
    must_not_match: str | None = None
    explanation: str | None = None
    max_chars: int = MAX_CHECKED_CHARS
    _wanted: re.Pattern[str] | None = field(init=False, repr=False, compare=False)
    _unwanted: re.Pattern[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        path = f"validators.{self.name}"
        given = self.must_match is not None or self.must_not_match is not None
        require(given, "give must_match, must_not_match or both", path=path)
        require_at_least(f"{path}.max_chars", self.max_chars, 1)
        object.__setattr__(self, "_wanted", _compiled(self.must_match, f"{path}.must_match"))
        object.__setattr__(self, "_unwanted", _compiled(self.must_not_match, f"{path}.must_not_match"))

    def check(self, text: str) -> str | None:
        """Return which pattern is missing or there; None if nothing is wrong."""
        if len(text) > self.max_chars:
            return f"has more than the {self.max_chars} characters that are checked"
        if self._wanted is not None and not self._wanted.search(text):
            return self.explanation or f"does not match the pattern {self.must_match!r}"
        if self._unwanted is not None and self._unwanted.search(text):
            return self.explanation or f"matches the pattern {self.must_not_match!r}"
        return None


def _compiled(pattern: str | None, path: str) -> re.Pattern[str] | None:
    try:
        return None if pattern is None else re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigurationError(f"{pattern!r} is no valid pattern: {error}", path=path) from error


_: type[OutputValidator] = Pattern
