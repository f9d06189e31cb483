"""Lines of the standard library's logging as JSON.

Responsibility: format a record as one JSON object, with what it belongs to; and write those of Holdfast to a stream for
    as long as a service is open.
Guarantees: a line is one line and valid JSON, whatever a tenant is called; once the service is closed the logging is
    set up as it was.
Not responsible for: what is logged: see `holdfast.adapters.logging.events` and `holdfast.adapters.logging.context`.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TextIO

from holdfast.adapters.logging.context import current_context

__all__ = ["JsonFormatter", "json_log"]


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object.

    It has ``time`` (UTC), ``level`` and ``logger``; what `current_context` says; and ``event`` with the values of an
    event of Holdfast, or ``message`` of anything else. An exception adds ``error``, its type, and ``stack``.

    It formats in the task that logs: where there is a `logging.handlers.QueueHandler`, it belongs on that one and not
    behind it, where nobody knows any more what the task works on.

    Example:
        >>> import sys
        >>> handler = logging.StreamHandler(sys.stdout)
        >>> handler.setFormatter(JsonFormatter())
        >>> logging.getLogger("soup").addHandler(handler)
        >>> logging.getLogger("soup").warning("too hot")  # doctest: +ELLIPSIS
        {"time": "...", "level": "warning", "logger": "soup", "message": "too hot"}
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the object as one line."""
        told: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        event = getattr(record, "holdfast", None)
        told |= current_context()
        told |= event if isinstance(event, dict) else {"message": record.getMessage()}
        if record.exc_info and record.exc_info[0] is not None:
            told |= {"error": record.exc_info[0].__name__, "stack": self.formatException(record.exc_info)}
        return json.dumps({name: _finite(value) for name, value in told.items()}, default=str)


def _finite(value: object) -> object:
    # JSON has neither infinity nor NaN.
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def json_log(stream: TextIO, *, level: int, logger_name: str = "holdfast") -> Generator[None]:
    """Write what the logger and those below it log to `stream`, as JSON, for the length of a ``with`` block.

    For one block at a time: each leaves the logger's level as it found it.

    Args:
        stream: such as standard error. Writing to it may block; where that matters, put a
            `logging.handlers.QueueHandler` with a `JsonFormatter` in front of a handler of your own instead.
        level: what is logged from.
        logger_name: which logger.
    """
    logger, handler = logging.getLogger(logger_name), logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
