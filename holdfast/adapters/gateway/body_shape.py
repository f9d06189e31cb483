"""What a body must look like.

Responsibility: hold a document against the shape that is expected, and say what is wrong with it.
Guarantees: what is not known is refused by its name and never dropped; a refusal repeats nothing of a value.
Not responsible for: the shapes themselves, and ranges that the door of the service checks.
"""

from __future__ import annotations

import re
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from holdfast.adapters.gateway.body_reading import RefusedRequestError
from holdfast.adapters.gateway.refusals import bad_request

__all__ = ["Part", "parse_body"]

B = TypeVar("B", bound=BaseModel)


class Part(BaseModel):
    """A part of a body, taken as it is written: no text stands for a number, and no unknown key is let through."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def parse_body(kind: type[B], document: object) -> B:
    """Return the body that `document` is.

    Raises:
        RefusedRequestError: naming the first field that is wrong; nothing of its value is repeated.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    param = ".".join(str(part) for part in problem["loc"] if _is_written(part)) or None
    if problem["type"] == "extra_forbidden":
        message, code = f"{param}: is not supported here; leave it out", "unsupported_field"
    else:
        words = problem["msg"]
        message, code = f"{param or 'the body'}: {words[:1].lower()}{words[1:]}", "invalid_field"
    raise RefusedRequestError(bad_request(message[:_MAX_MESSAGE_CHARS], param=param, code=code))


_MAX_MESSAGE_CHARS: Final = 300
_VARIANTS: Final = re.compile(r"str|list\[.*|dict\[.*|tagged-union.*")


def _is_written(part: int | str) -> bool:
    # pydantic names the chosen alternative of a union too, which nobody wrote.
    return isinstance(part, int) or not _VARIANTS.fullmatch(part)
