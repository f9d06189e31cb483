"""A recorder that keeps what it followed, and gives each record a place in a trace."""

from __future__ import annotations

import itertools
from contextvars import ContextVar
from dataclasses import dataclass, replace

from holdfast.ports.inference import Completion, Prompt
from holdfast.ports.service import Reply, Request
from holdfast.ports.telemetry import Recorder
from holdfast.ports.trace import TraceContext

__all__ = ["Attempted", "Following", "Requested"]

_endings = itertools.count()
_current: ContextVar[Requested | None] = ContextVar("_current", default=None)


@dataclass(eq=False)
class Requested:
    """A request that was followed; `endings` holds one pair for each time that it was ended, `ended_at` counts up."""

    request: Request
    endings: list[tuple[Reply | None, BaseException | None]]
    ended_at: int = -1

    def end(self, *, reply: Reply | None, error: BaseException | None) -> None:
        if _current.get() is self:
            _current.set(None)
        self.endings.append((reply, error))
        self.ended_at = next(_endings)


@dataclass(eq=False)
class Attempted:
    """An attempt that was followed, and the request in whose context it began."""

    prompt: Prompt
    backend: str
    number: int
    within: Requested | None
    endings: list[tuple[Completion | None, BaseException | None]]
    ended_at: int = -1

    def end(self, *, completion: Completion | None, error: BaseException | None) -> None:
        self.endings.append((completion, error))
        self.ended_at = next(_endings)


class Following:
    """Keeps each request and attempt that it follows."""

    def __init__(self) -> None:
        self.requests: list[Requested] = []
        self.attempts: list[Attempted] = []
        self._numbers = itertools.count(1)

    def begin_request(self, request: Request) -> Requested:
        record = Requested(replace(request, trace=self._trace(request.trace)), [])
        self.requests.append(record)
        _current.set(record)
        return record

    def begin_attempt(self, prompt: Prompt, *, backend: str, number: int) -> Attempted:
        asked = replace(prompt, trace=self._trace(prompt.trace))
        record = Attempted(asked, backend, number, _current.get(), [])
        self.attempts.append(record)
        return record

    def _trace(self, above: TraceContext | None) -> TraceContext:
        trace_id = "f" * 32 if above is None else above.trace_id
        return TraceContext(trace_id=trace_id, span_id=f"{next(self._numbers):016x}")


_: type[Recorder] = Following
