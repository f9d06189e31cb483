"""What pydantic found wrong with a value, in words for whoever wrote it.

Responsibility: one wording for settings, lines of a batch and signed questions.
Guarantees: nothing of Python is named: no class, no member of an enumeration, no exception.
Not responsible for: where the value stands, and keys that are missing or unknown, of which the callers know more.
"""

from __future__ import annotations

import re
from typing import Final

from pydantic_core import ErrorDetails

__all__ = ["words_of"]

_NO_OBJECT: Final = {"dict_type", "model_type", "model_attributes_type", "dataclass_type"}
_MEMBER: Final = re.compile(r"<[\w.]+: ('[^']*')>")
_TOO_SHORT: Final = re.compile(r"^\w+ (should have at least \d+ items?) after validation, not \d+$")


def words_of(problem: ErrorDetails) -> str:
    """Return what is wrong, beginning with a small letter, to be put behind the path of the value.

    Example:
        >>> from typing import Annotated
        >>> from pydantic import Field, TypeAdapter, ValidationError
        >>> try:
        ...     TypeAdapter(Annotated[tuple[str, ...], Field(min_length=1)]).validate_python(())
        ... except ValidationError as error:
        ...     words_of(error.errors()[0])
        'should have at least 1 item'
    """
    if problem["type"] in _NO_OBJECT:
        return "input should be an object"
    words = problem["msg"].removeprefix("Value error, ")
    words = _TOO_SHORT.sub(r"\1", _MEMBER.sub(r"\1", words))
    return f"{words[:1].lower()}{words[1:]}"
