"""What a line of the log belongs to.

Responsibility: keep, for each task, which request and which attempt it works on, and for whom.
Guarantees: names and numbers only; of a prompt and an answer nothing, unless that is asked for; what was set for a
    request or an attempt is what it was before once that has ended, and a task that works on another one is left alone.
Not responsible for: writing it: see `holdfast.adapters.logging.json_lines`.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Final

from holdfast.ports.inference import Completion, Prompt
from holdfast.ports.service import Reply, Request
from holdfast.ports.telemetry import AttemptRecord, Recorder, RequestRecord
from holdfast.ports.trace import TraceContext

__all__ = ["LogContext", "current_context"]

_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})

_current: ContextVar[Mapping[str, object]] = ContextVar("holdfast_log_context", default=_NOTHING)


def current_context() -> Mapping[str, object]:
    """Return what the running task works on, by name; nothing outside of any request.

    For a request: ``request_id``, ``tenant``, ``session_id``, ``trace_id`` and ``span_id``; for an attempt also
    ``attempt`` and ``backend``. What there is not is left out.
    """
    return _current.get()


class LogContext:
    """Tells `current_context` of each request and attempt.

    Args:
        with_prompts: whether each attempt is logged with its prompt and its answer, as INFO; whoever may read the log
            may then read both.
        logger_name: by which logger that is.
    """

    def __init__(self, *, with_prompts: bool = False, logger_name: str = "holdfast.prompts") -> None:
        self._prompts = logging.getLogger(logger_name) if with_prompts else None
        self._instance = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    def begin_request(self, request: Request) -> RequestRecord:
        """Let the task work on `request`, which gets a name if it has none."""
        told = {
            "request_id": request.request_id or f"{self._instance}-{next(self._numbers)}",
            "tenant": request.tenant,
            "session_id": request.session_id,
            **_names(request.trace),
        }
        return _Requested(request, {name: value for name, value in told.items() if value is not None})

    def begin_attempt(self, prompt: Prompt, *, backend: str, number: int) -> AttemptRecord:
        """Let the task work on an attempt of its request."""
        told = {**_current.get(), "attempt": number, "backend": backend, **_names(prompt.trace)}
        return _Attempted(prompt, told, self._prompts)


def _names(trace: TraceContext | None) -> dict[str, object]:
    return {} if trace is None else {"trace_id": trace.trace_id, "span_id": trace.span_id}


class _Place:
    """What the task works on, from now on."""

    __slots__ = ("_before", "_told")

    def __init__(self, told: Mapping[str, object]) -> None:
        self._told = told
        self._before = _current.get()
        _current.set(told)

    def leave(self) -> None:
        # A stream may be left in another task than it was opened in, which works on something else.
        if _current.get() is self._told:
            _current.set(self._before)


class _Requested:
    __slots__ = ("_place", "request")

    def __init__(self, request: Request, told: Mapping[str, object]) -> None:
        self.request = request
        self._place = _Place(told)

    def end(self, *, reply: Reply | None, error: BaseException | None) -> None:
        del reply, error  # events tell of them
        self._place.leave()


class _Attempted:
    __slots__ = ("_log", "_place", "prompt")

    def __init__(self, prompt: Prompt, told: Mapping[str, object], log: logging.Logger | None) -> None:
        self.prompt = prompt
        self._log = log
        self._place = _Place(told)

    def end(self, *, completion: Completion | None, error: BaseException | None) -> None:
        if self._log is not None:
            messages = [{"role": message.role.value, "content": message.content} for message in self.prompt.messages]
            told = {
                "event": "attempt_made",
                "messages": messages,
                "answer": None if completion is None else completion.text,
                "error": None if error is None else type(error).__name__,
            }
            self._log.info("attempt_made", extra={"holdfast": told})
        self._place.leave()


_: type[Recorder] = LogContext
