"""How long requests and attempts take, what they use, and what is decided, as metrics.

Responsibility: `Recorder` and `EventSink` that feed instruments of OpenTelemetry.
Guarantees: a metric has few time series: no tenant, session or key makes one.
Not responsible for: where metrics go: the application sets up a meter provider; without one, none is kept. What there
    is at one moment: `Service.health` has that.
"""

from __future__ import annotations

import time
from importlib.metadata import version

from holdfast.adapters.otel.conventions import (
    DURATION_BUCKETS_S,
    ERROR_TYPE,
    TOKEN_BUCKETS,
    TOKEN_TYPE,
    Attribute,
    attempt_attributes,
    counted_attributes,
    error_type,
)
from holdfast.ports.events import Event, EventSink, RequestAnswered, RequestFailed
from holdfast.ports.inference import Completion, Prompt
from holdfast.ports.service import Reply, Request
from holdfast.ports.telemetry import AttemptRecord, Recorder, RequestRecord

try:
    from opentelemetry import metrics
    from opentelemetry.metrics import Histogram, Meter
except ImportError as error:
    raise ImportError(
        "holdfast.adapters.otel needs opentelemetry-api: pip install 'holdfast[otel]'", name="opentelemetry"
    ) from error

__all__ = ["OtelMetrics"]


class OtelMetrics:
    """Feeds the instruments.

    Args:
        meter: makes them; None for that of the application's meter provider.
    """

    def __init__(self, meter: Meter | None = None) -> None:
        meter = metrics.get_meter("holdfast", version("holdfast")) if meter is None else meter
        self._operations = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="Duration of an attempt at a backend.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS_S,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Tokens that an attempt took.",
            explicit_bucket_boundaries_advisory=TOKEN_BUCKETS,
        )
        self._requests = meter.create_histogram(
            "holdfast.request.duration",
            unit="s",
            description="Duration of a request, from the door to its reply or failure.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS_S,
        )
        self._events = meter.create_counter("holdfast.events", unit="{event}", description="What was decided, by name.")

    def begin_request(self, request: Request) -> RequestRecord:
        """Leave it to its event, which tells how long it took."""
        return _Untouched(request)

    def begin_attempt(self, prompt: Prompt, *, backend: str, number: int) -> AttemptRecord:
        """Take the time of an attempt."""
        del number  # it would make a time series for each
        return _Measured(prompt, attempt_attributes(prompt, backend=backend), self._operations, self._tokens)

    def emit(self, event: Event) -> None:
        """Count `event`, and take the duration from one that ends a request."""
        attributes = counted_attributes(event)
        self._events.add(1, attributes)
        if isinstance(event, RequestAnswered | RequestFailed):
            self._requests.record(event.latency_s, attributes)


class _Untouched:
    __slots__ = ("request",)

    def __init__(self, request: Request) -> None:
        self.request = request

    def end(self, *, reply: Reply | None, error: BaseException | None) -> None:
        """Do nothing."""


class _Measured:
    __slots__ = ("_attributes", "_began_s", "_operations", "_tokens", "prompt")

    def __init__(
        self, prompt: Prompt, attributes: dict[str, Attribute], operations: Histogram, tokens: Histogram
    ) -> None:
        self.prompt = prompt
        self._attributes = attributes
        self._operations = operations
        self._tokens = tokens
        self._began_s = time.perf_counter()

    def end(self, *, completion: Completion | None, error: BaseException | None) -> None:
        took_s = time.perf_counter() - self._began_s
        attributes = self._attributes
        if error is not None:
            attributes = attributes | {ERROR_TYPE: error_type(error)}
        if completion is not None:
            attributes = attributes | {"gen_ai.response.model": completion.model}
            for kind, count in (("input", completion.usage.input_tokens), ("output", completion.usage.output_tokens)):
                if count:  # nothing was counted where a backend does not say
                    self._tokens.record(count, attributes | {TOKEN_TYPE: kind})
        self._operations.record(took_s, attributes)


_: type[Recorder] = OtelMetrics
__: type[EventSink] = OtelMetrics
