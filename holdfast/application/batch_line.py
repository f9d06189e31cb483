"""One line of a batch file, validated.

Responsibility: turn the bytes of a line into a request, or say why that is impossible.
Guarantees: pure; the same bytes give the same verdict. A reason never repeats what stands in the line, except the names
    of keys, shortened.
Not responsible for: finding lines, and whether ids are unique: see `holdfast.application.batch_input`.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from holdfast.application.problem_words import words_of
from holdfast.ports.inference import Message, Parameters, ResponseFormat, Role
from holdfast.ports.journal import Failure, FailureKind
from holdfast.ports.service import Priority, Request

__all__ = ["BatchLine", "LineRejectedError", "hostile_id_reason", "parse_line"]

_MAX_ID_CHARS: Final = 200
_MAX_REASON_CHARS: Final = 300
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

_Text = Annotated[str, Field(min_length=1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _Message(_Model):
    role: Literal[Role.SYSTEM, Role.USER, Role.ASSISTANT]  # what tools are asked for does not come this way
    content: str


class BatchLine(_Model):
    """What a line may say: exactly one of `question` and `messages`, and whatever a request may carry.

    `id` names the result; without it, the line's number does (``line-7``).
    """

    id: str | None = None
    question: _Text | None = None
    messages: Annotated[tuple[_Message, ...], Field(min_length=1)] | None = None
    tenant: _Text = "default"
    model: _Text | None = None
    persona: _Text | None = None
    priority: Literal["critical", "high", "normal", "low", "bulk"] = "normal"
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    no_cache: bool = False
    temperature: Annotated[float, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    seed: int | None = None
    stop: tuple[_Text, ...] = ()
    response_format: ResponseFormat = ResponseFormat.TEXT

    @model_validator(mode="after")
    def _ask_one_thing(self) -> Self:
        if (self.question is None) == (self.messages is None):
            raise ValueError("give either question or messages")
        return self

    def request(self, *, request_id: str, idempotency_key: str) -> Request:
        """Return the request that the line stands for."""
        turns = [(Role.USER, self.question)] if self.question is not None else self._turns()
        return Request(
            messages=tuple(Message(role=role, content=content) for role, content in turns),
            tenant=self.tenant,
            model=self.model,
            parameters=Parameters(
                temperature=self.temperature,
                top_p=self.top_p,
                max_tokens=self.max_tokens,
                seed=self.seed,
                stop=self.stop,
                response_format=self.response_format,
            ),
            priority=Priority[self.priority.upper()],
            timeout_s=self.timeout_s,
            persona=self.persona,
            no_cache=self.no_cache,
            idempotency_key=idempotency_key,
            request_id=request_id,
        )

    def _turns(self) -> list[tuple[Role, str]]:
        return [(message.role, message.content) for message in self.messages or ()]


class _Named(BaseModel):
    """The one thing that is wanted of a line that is otherwise wrong."""

    model_config = ConfigDict(strict=True)

    id: str | None = None


class LineRejectedError(Exception):
    """The line cannot be called; caught where lines are read, and recorded.

    Attributes:
        failure: why.
        id: its name, if it could be read.
    """

    def __init__(self, kind: FailureKind, reason: str, *, item_id: str | None = None) -> None:
        super().__init__(reason)
        self.failure = Failure(kind=kind, reason=reason)
        self.id = item_id


def parse_line(line: bytes) -> BatchLine:
    """Return what a line says.

    Args:
        line: its bytes, without the line end.

    Raises:
        LineRejectedError: if it is not a request.
    """
    _check_bytes(line)
    try:
        return BatchLine.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise LineRejectedError(FailureKind.NOT_JSON, _shorten(first["msg"])) from None
        raise LineRejectedError(FailureKind.INVALID, _shorten(_reason(first)), item_id=_name_of(line)) from None


def _reason(problem: ErrorDetails) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = BatchLine.model_fields if len(problem["loc"]) == 1 else _Message.model_fields
        nearest = difflib.get_close_matches(str(problem["loc"][-1])[:_MAX_REASON_CHARS], known, n=1)
        return f"{place}: is not a key here" + (f"; did you mean {nearest[0]!r}?" if nearest else "")
    return f"{place}: {words_of(problem)}" if place else words_of(problem)


def _check_bytes(line: bytes) -> None:
    if not line.strip():
        raise LineRejectedError(FailureKind.BLANK_LINE, "the line is blank; remove it")
    if b"\0" in line:
        raise LineRejectedError(FailureKind.NUL, "the line holds a NUL byte; save the file as UTF-8")
    if line.startswith(_BYTE_ORDER_MARK):
        raise LineRejectedError(
            FailureKind.BYTE_ORDER_MARK, "the line begins with a byte order mark; save the file as UTF-8 without one"
        )
    if line.endswith(b"\r"):
        raise LineRejectedError(
            FailureKind.CARRIAGE_RETURN, "the line ends with CR LF; save the file with LF line ends"
        )
    try:
        line.decode()
    except UnicodeDecodeError as error:
        raise LineRejectedError(
            FailureKind.NOT_UTF8, f"byte {error.start + 1} of the line is not UTF-8; save the file as UTF-8"
        ) from None


def _shorten(reason: str) -> str:
    # A key can be as long as a line, and hold anything that a terminal obeys.
    printable = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in reason)
    return printable if len(printable) <= _MAX_REASON_CHARS else f"{printable[: _MAX_REASON_CHARS - 1]}…"


def _name_of(line: bytes) -> str | None:
    try:
        return _Named.model_validate_json(line).id
    except ValidationError:
        return None


def hostile_id_reason(item_id: str) -> str | None:
    """Return why an id must not be used, or None: ids end up in file names, logs and terminals."""
    if not item_id or len(item_id) > _MAX_ID_CHARS:
        return f"an id has 1 to {_MAX_ID_CHARS} characters, this one has {len(item_id)}"
    if not item_id.isprintable():
        return "an id holds printable characters only"
    if "/" in item_id or "\\" in item_id or not item_id.strip(". "):
        return "an id holds no slash or backslash, and not only dots or spaces"
    return None
