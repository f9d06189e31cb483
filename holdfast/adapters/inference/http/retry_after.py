"""When a server wants to be asked again.

Responsibility: read Retry-After in both of its forms, and the two headers that OpenAI and Anthropic add.
Guarantees: whatever stands there, the result is None or a number from 0 to a day; what is over is 0, and what nobody
    can mean is None. A date is compared with the server's own clock where it tells it, so that ours may be wrong.
Not responsible for: whether to wait for so long: see `holdfast.domain.retry_policy`.
Sources: RFC 9110 sections 10.2.3 and 5.6.7; `retry-after-ms` and `x-should-retry` as in the clients of OpenAI and
    Anthropic.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

__all__ = ["MAX_RETRY_AFTER_S", "retry_after_s", "retry_allowed"]

MAX_RETRY_AFTER_S: Final = 86_400.0
"""What a server that asks for more is taken to mean: longer than anybody waits."""

_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")


def retry_after_s(header: Callable[[str], str | None], *, now_unix_s: float) -> float | None:
    """Return after how many seconds the server wants to be asked again; None if it does not say.

    Args:
        header: gives the header of a name.
        now_unix_s: the time by our clock, for a server that does not tell its own.

    Example:
        >>> retry_after_s({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}.get, now_unix_s=946684790.0)
        9.0
    """
    milliseconds = _number(header("retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1000.0, MAX_RETRY_AFTER_S)
    text = header("retry-after")
    seconds = _number(text)
    if seconds is None:
        until_s = _date_unix_s(text)
        if until_s is None:
            return None
        server_s = _date_unix_s(header("date"))
        seconds = until_s - (now_unix_s if server_s is None else server_s)
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def retry_allowed(header: Callable[[str], str | None]) -> bool:
    """Return False if the server says that this call is never to be tried again."""
    return (header("x-should-retry") or "").strip().lower() != "false"


def _number(text: str | None) -> float | None:
    text = (text or "").strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def _date_unix_s(text: str | None) -> float | None:
    try:
        date: datetime = parsedate_to_datetime((text or "")[:100])
        return date.replace(tzinfo=date.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None
