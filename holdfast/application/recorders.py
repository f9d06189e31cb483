"""Several who follow the same requests.

Responsibility: be one `Recorder` for any number of them.
Guarantees: each follows what the one before it made of a request or a prompt, so that logs can name the span that
    tracing began; they hear of the end in reverse.
Not responsible for: who follows: see `holdfast.application.container`.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.ports.inference import Completion, Prompt
from holdfast.ports.service import Reply, Request
from holdfast.ports.telemetry import AttemptRecord, Recorder, RequestRecord

__all__ = ["Recorders"]


class Recorders:
    """Lets each of `recorders` follow, in order."""

    def __init__(self, recorders: Sequence[Recorder]) -> None:
        self._recorders = tuple(recorders)

    def begin_request(self, request: Request) -> RequestRecord:
        """Let each follow the request."""
        records: list[RequestRecord] = []
        for recorder in self._recorders:
            records.append(recorder.begin_request(request))
            request = records[-1].request
        return _RequestRecords(records, request)

    def begin_attempt(self, prompt: Prompt, *, backend: str, number: int) -> AttemptRecord:
        """Let each follow the attempt."""
        records: list[AttemptRecord] = []
        for recorder in self._recorders:
            records.append(recorder.begin_attempt(prompt, backend=backend, number=number))
            prompt = records[-1].prompt
        return _AttemptRecords(records, prompt)


class _RequestRecords:
    def __init__(self, records: Sequence[RequestRecord], request: Request) -> None:
        self._records = records
        self.request = request

    def end(self, *, reply: Reply | None, error: BaseException | None) -> None:
        for record in reversed(self._records):
            record.end(reply=reply, error=error)


class _AttemptRecords:
    def __init__(self, records: Sequence[AttemptRecord], prompt: Prompt) -> None:
        self._records = records
        self.prompt = prompt

    def end(self, *, completion: Completion | None, error: BaseException | None) -> None:
        for record in reversed(self._records):
            record.end(completion=completion, error=error)


_: type[Recorder] = Recorders
