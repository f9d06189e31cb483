"""Errors as clients of OpenAI's API know them.

Responsibility: which status each error of Holdfast has, and the error object that goes with it.
Guarantees: one table for every error; 429 and 503 always say when to come back; an error tells no more than its
    message, which holds no secret and no payload; one of our own stores not even that.
Not responsible for: raising them.
Source: RFC 9110, sections 15.5, 15.6 and 10.2.3; OpenAI, "Error codes".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from fastapi import HTTPException, Response
from fastapi.exceptions import RequestValidationError

from holdfast.adapters.gateway.json_text import JsonObject, json_response
from holdfast.ports.errors import (
    AttemptTimeoutError,
    BackendError,
    BackendRequestError,
    BackendThrottledError,
    BackendTimeoutError,
    ClosedError,
    DeadlineExceededError,
    HoldfastError,
    OutputRejectedError,
    RateLimitedError,
    RefusedError,
    RequestError,
    RetrievalError,
    SessionConflictError,
    SessionNotFoundError,
    SessionStoreError,
    SessionTooLargeError,
    SharedFailureError,
    SlowReaderError,
    StoreUnavailableError,
    StreamInterruptedError,
)

__all__ = ["INTERNAL", "Refusal", "bad_request", "http_error_response", "refusal_of", "unread_response"]

_INVALID: Final = "invalid_request_error"
_API: Final = "api_error"
_OVERLOADED: Final = "overloaded_error"

_LATE: Final = "timeout_error"

_TABLE: Final[Mapping[type[Exception], tuple[int, str]]] = {
    HoldfastError: (500, _API),
    RequestError: (400, _INVALID),
    RefusedError: (503, _OVERLOADED),
    RateLimitedError: (429, "rate_limit_error"),
    DeadlineExceededError: (504, _LATE),
    AttemptTimeoutError: (504, _LATE),
    SharedFailureError: (502, _API),
    StreamInterruptedError: (502, _API),
    SlowReaderError: (408, _LATE),
    OutputRejectedError: (502, _API),
    SessionNotFoundError: (404, _INVALID),
    SessionConflictError: (409, _INVALID),
    SessionTooLargeError: (413, _INVALID),
    SessionStoreError: (503, _OVERLOADED),
    StoreUnavailableError: (503, _OVERLOADED),
    BackendError: (502, _API),  # also wrong credentials: they are ours, and a 401 would blame the client for them
    BackendRequestError: (400, _INVALID),
    BackendThrottledError: (503, _OVERLOADED),
    BackendTimeoutError: (504, _LATE),
    RetrievalError: (503, _OVERLOADED),
}
"""The status and the type of each error and of those below it in the tree, unless they are named themselves."""

_RETRY_AFTER_S: Final = 1
"""What a client is asked to wait where nobody knows better; unmeasured."""

_COME_BACK: Final = {429, 503}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What a client is told in place of an answer.

    Args:
        status: of HTTP.
        kind: OpenAI's ``type``.
        code: a name for programs.
        message: a sentence for people.
        param: which field or header is wrong; None if it is none.
        retry_after_s: when to come back; None where coming back is no use.
        challenge: how to say who one is, where that is what is missing.
    """

    status: int
    kind: str
    code: str
    message: str
    param: str | None = None
    retry_after_s: int | None = None
    challenge: str | None = None

    @property
    def document(self) -> JsonObject:
        """The error object, as OpenAI's API gives it."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """What goes with it."""
        told = {
            "retry-after": None if self.retry_after_s is None else str(self.retry_after_s),
            "www-authenticate": self.challenge,
        }
        return {name: value for name, value in told.items() if value is not None}

    def response(self) -> Response:
        """Return it as the whole answer."""
        return json_response(self.document, status=self.status, headers=self.headers)


INTERNAL: Final = Refusal(status=500, kind=_API, code="internal", message="something went wrong here; see the log")
"""For what is no error of Holdfast's: a bug, of which clients learn nothing."""


def bad_request(message: str, *, param: str | None = None, status: int = 400, code: str = "bad_request") -> Refusal:
    """Return the refusal of a request that is wrong as it stands."""
    return Refusal(status=status, kind=_INVALID, code=code, message=message, param=param)


def http_error_response(error: HTTPException) -> Response:
    """Return the answer that an application around the gateway asked for, in the shape of the others."""
    kind = _INVALID if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR else _API
    refusal = Refusal(
        status=error.status_code,
        kind=kind,
        code="http_error",
        message=str(error.detail),
        retry_after_s=_RETRY_AFTER_S if error.status_code in _COME_BACK else None,
    )
    response = refusal.response()
    response.headers.update(error.headers or {})
    return response


def unread_response(error: RequestValidationError) -> Response:
    """Return the answer where a dependency of an application around the gateway misses what it needs."""
    problem = error.errors()[0]
    param, words = str(problem["loc"][-1]), str(problem["msg"])
    message = f"{param}: {words[:1].lower()}{words[1:]}"
    return bad_request(message, param=param, status=422, code="invalid_field").response()


def refusal_of(error: HoldfastError) -> Refusal:
    """Return what a client is told of `error`.

    Example:
        >>> refusal_of(DeadlineExceededError(timeout_s=2.0)).status
        504
    """
    if isinstance(error, RateLimitedError) and error.most is not None:
        return bad_request(str(error), code=_code(error))
    status, kind = next(_TABLE[known] for known in type(error).__mro__ if known in _TABLE)
    retry_after_s = _retry_after_s(error) if status in _COME_BACK else None
    return Refusal(status=status, kind=kind, code=_code(error), message=_message(error), retry_after_s=retry_after_s)


def _message(error: HoldfastError) -> str:
    match error:
        case ClosedError():  # what ends is this instance, of which a client cannot open a new one
            return "this instance is ending; ask again"
        case SessionStoreError():  # whose own words name our files and addresses
            return "sessions cannot be read or written now; ask again"
        case _:
            return str(error)


def _retry_after_s(error: HoldfastError) -> int:
    known_s: float | None = getattr(error, "retry_after_s", None)  # of refusals and of push-back; no class in common
    return _RETRY_AFTER_S if known_s is None else max(_RETRY_AFTER_S, math.ceil(known_s))


def _code(error: HoldfastError) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).lower()
