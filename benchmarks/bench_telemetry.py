"""What it adds to a request to be followed: by nobody, by the log, by metrics, by spans."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import anyio
from harness import Row, measure, measure_async, report
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from holdfast import Completion, Message, Prompt, Request, Role, Settings, open_orchestrator
from holdfast.adapters.logging import LogContext
from holdfast.adapters.otel import OtelMetrics, OtelSpans
from holdfast.ports.telemetry import Recorder

_QUESTION = (Message(role=Role.USER, content="x" * 200),)
_PROMPT = Prompt(messages=_QUESTION)
_REQUEST = Request(messages=_QUESTION, no_cache=True)


class _Echo:
    async def complete(self, prompt: Prompt) -> Completion:
        return Completion(text=prompt.messages[-1].content, model="echo-1")


def _followers() -> dict[str, Sequence[Recorder]]:
    meter = MeterProvider(metric_readers=[InMemoryMetricReader()]).get_meter("bench")
    tracer = TracerProvider().get_tracer("bench")  # without a processor: spans are made, and kept by nobody
    return {
        "nobody": (),
        "the log": (LogContext(),),
        "metrics, without an SDK": (OtelMetrics(),),
        "metrics": (OtelMetrics(meter),),
        "spans, without an SDK": (OtelSpans(),),
        "spans": (OtelSpans(tracer),),
    }


def _follow(recorders: Sequence[Recorder]) -> None:
    requests = [recorder.begin_request(_REQUEST) for recorder in recorders]
    attempts = [recorder.begin_attempt(_PROMPT, backend="echo", number=1) for recorder in recorders]
    for attempt in attempts:
        attempt.end(completion=None, error=None)
    for request in requests:
        request.end(reply=None, error=None)


async def _submit(name: str, recorders: Sequence[Recorder]) -> Row:
    async with open_orchestrator(Settings(), backends={"echo": _Echo()}, recorders=recorders) as service:
        return await measure_async(f"submit, followed by {name}", lambda: service.submit(_REQUEST))


def main() -> bool:
    """Print the table; nothing here has a budget but being followed by nobody, which `bench_submit.py` holds."""
    followers = _followers()
    rows = [
        measure(f"one request and one attempt, {name}", lambda who=who: _follow(who))  # type: ignore[misc] # bound now
        for name, who in followers.items()
        if who
    ]
    rows += [anyio.run(_submit, name, who) for name, who in followers.items()]
    return report("Following requests", rows, packages=("opentelemetry-api", "opentelemetry-sdk"))


if __name__ == "__main__":
    sys.exit(not main())
