"""What a status other than 200 means.

Responsibility: the error of the port for each status, and for the code that OpenAI, Anthropic and llama-server put
    into the body.
Guarantees: an error repeats no more of the body than two short codes, for the rest may hold the request or the key.
Not responsible for: errors that come with status 200: see the dialects.
Sources: https://platform.openai.com/docs/guides/error-codes, https://docs.anthropic.com/en/api/errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from holdfast.adapters.inference.http.dialect import UnintelligibleError
from holdfast.adapters.inference.http.reading import JsonObject, object_from
from holdfast.adapters.inference.http.retry_after import retry_after_s, retry_allowed
from holdfast.ports.errors import (
    BackendAuthenticationError,
    BackendError,
    BackendProtocolError,
    BackendRequestError,
    BackendThrottledError,
    BackendUnavailableError,
)

__all__ = ["error_codes", "failure_of"]

_UNACCEPTED: Final = frozenset({401, 403})
_PUSHED_BACK: Final = frozenset({429, 529})  # 529 is Anthropic's "overloaded"
_NEVER: Final = "insufficient_quota"
"""OpenAI's code for an account without credit, which no waiting fills."""

_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def failure_of(
    status: int, header: Callable[[str], str | None], body: bytes, *, backend: str, now_unix_s: float
) -> BackendError:
    """Return the error that an answer other than 200 stands for.

    Args:
        status: its status.
        header: gives the header of a name.
        body: as much of it as is of interest.
        backend: whose answer it is.
        now_unix_s: the time by our clock.

    Example:
        >>> failure_of(503, {}.get, b"", backend="b", now_unix_s=0.0)
        BackendUnavailableError("backend 'b': failed with status 503")
    """
    codes = error_codes(_document(body))
    said = f"status {status}{''.join(f', {code}' for code in codes)}"
    if status in _PUSHED_BACK:
        return BackendThrottledError(
            backend=backend,
            retry_after_s=retry_after_s(header, now_unix_s=now_unix_s),
            retry_allowed=retry_allowed(header) and _NEVER not in codes,
        )
    if status in _UNACCEPTED:
        return BackendAuthenticationError(f"does not accept the API key ({said}); change it", backend=backend)
    if 400 <= status < 500:
        return BackendRequestError(f"refuses the request with {said}", backend=backend)
    if status >= 500:
        return BackendUnavailableError(f"failed with {said}", backend=backend)
    if 300 <= status < 400:
        return BackendProtocolError(f"leads elsewhere with {said}; give its real address", backend=backend)
    return BackendProtocolError(f"answered with {said} in place of 200", backend=backend)


def error_codes(document: JsonObject) -> tuple[str, ...]:
    """Return the short codes in an error object, such as its type; none if it has none.

    Example:
        >>> error_codes({"error": {"message": "…", "type": "invalid_request_error", "code": "context_length_exceeded"}})
        ('invalid_request_error', 'context_length_exceeded')
    """
    error: Any = document.get("error")
    if not isinstance(error, dict):
        return ()
    found: list[Any] = [error.get(key) for key in ("type", "code")]  # pyright: ignore[reportUnknownMemberType] - Any
    return tuple(dict.fromkeys(code for code in found if isinstance(code, str) and _CODE.fullmatch(code)))


def _document(body: bytes) -> JsonObject:
    try:
        return object_from(body)
    except UnintelligibleError:
        return {}
