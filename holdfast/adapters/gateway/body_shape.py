"""What a body must look like.

Responsibility: hold a document against the shape that is expected, and say what is wrong with it.
Guarantees: what is not known is refused by its name and never dropped; a refusal repeats nothing of a value; what is
    wrong in many places costs no more to refuse than what is wrong in one.
Not responsible for: the shapes themselves, and ranges that the door of the service checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from holdfast.adapters.gateway.body_reading import RefusedRequestError
from holdfast.adapters.gateway.refusals import bad_request

__all__ = ["Listed", "Part", "parse_body"]

B = TypeVar("B", bound=BaseModel)
T = TypeVar("T")

Listed = Annotated[list[T], Field(fail_fast=True)]
"""A list that is read up to the first item that is wrong: a body of half a million took seconds to refuse."""


class Part(BaseModel):
    """A part of a body, taken as it is written: no text stands for a number, and no unknown key is let through."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def parse_body(kind: type[B], document: object) -> B:
    """Return the body that `document` is.

    Raises:
        RefusedRequestError: naming a field that is wrong, the innermost one; nothing of its value is repeated.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        if error.error_count() > _MAX_PROBLEMS:
            message = f"the body: more than {_MAX_PROBLEMS} fields are wrong"
            raise RefusedRequestError(bad_request(message, code="invalid_field")) from None
        problems = error.errors(include_url=False, include_context=False, include_input=False)
    problem = max(problems, key=lambda found: len(found["loc"]))
    is_missing = problem["type"] == "missing"
    param = ".".join(str(part) for part in _written(problem["loc"], document, is_missing=is_missing)) or None
    if problem["type"] == "extra_forbidden":
        message, code = f"{param}: is not supported here; leave it out", "unsupported_field"
    else:
        words = "must be an object" if problem["type"] in _NO_OBJECT else problem["msg"]
        message, code = f"{param or 'the body'}: {words[:1].lower()}{words[1:]}", "invalid_field"
    raise RefusedRequestError(bad_request(message[:_MAX_MESSAGE_CHARS], param=param, code=code))


_MAX_PROBLEMS: Final = 100
_MAX_MESSAGE_CHARS: Final = 300
_NO_OBJECT: Final = {"dict_type", "model_type", "model_attributes_type"}  # whose words name a class of ours


def _written(loc: Sequence[int | str], document: object, *, is_missing: bool) -> list[int | str]:
    # pydantic names the chosen alternative of a union too, which nobody wrote.
    path = list[int | str]()
    value: Any = document
    for part in loc:
        try:
            value = value[part]
        except (LookupError, TypeError):
            continue
        path.append(part)
    return [*path, loc[-1]] if is_missing else path
