"""Following requests, and the attempts made for them, from beginning to end.

Responsibility: who is told when a request comes in and when an attempt at a backend begins, and of how each ended.
Guarantees: each record is ended exactly once, in the task that began it; where nobody follows, nothing is made.
Not responsible for: single decisions: see `holdfast.ports.events`; totals: see `holdfast.ports.statistics`.
"""

from __future__ import annotations

from typing import Protocol

from holdfast.ports.inference import Completion, Prompt
from holdfast.ports.service import Reply, Request

__all__ = ["AttemptRecord", "Recorder", "RequestRecord"]


class RequestRecord(Protocol):
    """One request that is being followed."""

    @property
    def request(self) -> Request:
        """The request as it goes on, with this record as its place in the trace, if it has one."""
        ...

    def end(self, *, reply: Reply | None, error: BaseException | None) -> None:
        """Take note of how it ended: with a reply, with an error, or with neither if its caller left a stream."""
        ...


class AttemptRecord(Protocol):
    """One attempt at a backend that is being followed."""

    @property
    def prompt(self) -> Prompt:
        """The prompt as it goes out, with this record as its place in the trace, if it has one."""
        ...

    def end(self, *, completion: Completion | None, error: BaseException | None) -> None:
        """Take note of how it ended: with a completion or with an error, a cancellation included."""
        ...


class Recorder(Protocol):
    """Follows requests and attempts.

    Ordering: an attempt begins in a task that inherits the context variables of the request it is made for; where
    requests share an answer, of the one that was called for. Cancellation: nothing here waits, so there is none; that
    of a request or an attempt is the error it ends with. Errors: none; what one raises all the same fails the request.
    """

    def begin_request(self, request: Request) -> RequestRecord:
        """Follow a request that came to the door, whether or not it will be let in."""
        ...

    def begin_attempt(self, prompt: Prompt, *, backend: str, number: int) -> AttemptRecord:
        """Follow an attempt that begins now.

        Args:
            prompt: what is asked.
            backend: name of the backend.
            number: of the attempt among those made for the request, from 1.
        """
        ...
