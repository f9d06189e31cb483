"""Events as lines of the standard library's logging.

Responsibility: one structured line for each event, at a level that fits its kind.
Guarantees: a line is one line, whatever a tenant is called; it holds no prompt and no answer, since no event does; a
    level that is off costs one look.
Not responsible for: handlers, formats and files: those are the application's. A handler that blocks, blocks the event
    loop: put a `logging.handlers.QueueHandler` in front of it. A filter or handler that raises: `EventHub` counts it.
Sources: the text is logfmt, https://brandur.org/logfmt; the values in ``extra``, for formatters that write JSON, are as
    stamina does it, but under one key, since a key such as ``name`` would collide with the record's own.
"""

from __future__ import annotations

import enum
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Final

from holdfast.ports import events
from holdfast.ports.events import Event, EventSink

__all__ = ["LoggingEventSink"]

_UNQUOTED: Final = re.compile(r"[!#-<>-\[\]-~]+")  # logfmt: printable ASCII but for space, ", = and \

_DEBUG: Final[tuple[type[Event], ...]] = (
    events.RequestAnswered,
    events.Deduplicated,
    events.FlightAbandoned,
    events.RouteChosen,
    events.BreakerRefused,
    events.HedgeLaunched,
    events.HedgeWon,
    events.HedgeRefused,
    events.PersonaChosen,
    events.HandshakeCompleted,
    events.SessionCreated,
    events.SessionTrimmed,
    events.SessionExpired,
    events.SharedAnswerTaken,
)
_WARNING: Final[tuple[type[Event], ...]] = (
    events.BreakerOpened,
    events.CredentialsRefused,
    events.OverloadBegan,
    events.ResourceFailed,
    events.LeaseLeaked,
    events.ModelRefused,
    events.ValidatorFailed,
    events.ParametersRefused,
    events.ParameterStoreLost,
    events.SharedStoreLost,
    events.SharedAnswerUnreadable,
    events.ClaimFenced,
)
_LEVELS: Final = dict.fromkeys(_DEBUG, logging.DEBUG) | dict.fromkeys(_WARNING, logging.WARNING)


class LoggingEventSink:
    """Logs each event. For any number of event loops and threads.

    A line reads ``breaker_opened breaker=echo open_s=5``. Its record has the same as a dictionary in the attribute
    ``holdfast``, with the name of the event under ``event``.

    Args:
        logger_name: which logger; default ``holdfast.events``.
        levels: the level of an event's kind, where it shall be another than the built-in one: DEBUG for what comes with
            requests that go well, and with each that an open breaker refuses; WARNING for what an operator wants to
            know at once; INFO for all else.

    Example:
        >>> import sys
        >>> handler = logging.StreamHandler(sys.stdout)
        >>> logging.getLogger("tea").addHandler(handler)
        >>> LoggingEventSink("tea").emit(events.BreakerOpened(breaker="tea pot", open_s=5.0))
        breaker_opened breaker="tea pot" open_s=5
    """

    __slots__ = ("_levels", "_logger")

    def __init__(
        self,
        logger_name: str = "holdfast.events",
        *,
        levels: Mapping[type[Event], int] = MappingProxyType({}),
    ) -> None:
        self._logger = logging.getLogger(logger_name)
        self._levels = {**_LEVELS, **levels}

    def emit(self, event: Event) -> None:
        """Log `event`, if its level is on."""
        level = self._levels.get(type(event), logging.INFO)
        if self._logger.isEnabledFor(level):
            self._log(level, event)

    def _log(self, level: int, event: Event) -> None:
        values = {field.name: _plain(getattr(event, field.name)) for field in fields(event)}
        line = " ".join([event.name, *(f"{name}={_logfmt(value)}" for name, value in values.items())])
        # The line is no format: a tenant may be called "%s".
        self._logger.log(level, "%s", line, extra={"holdfast": {"event": event.name, **values}})


def _plain(value: object) -> object:
    return value.name.lower() if isinstance(value, enum.Enum) else value


def _logfmt(value: object) -> str:
    match value:
        case str():
            return value if _UNQUOTED.fullmatch(value) else json.dumps(value)
        case float():
            return f"{value:.6g}"
        case _:
            return json.dumps(value, default=str)  # an event of one's own may hold anything


_: type[EventSink] = LoggingEventSink
