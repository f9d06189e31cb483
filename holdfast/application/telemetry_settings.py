"""What is told to the outside of requests, attempts and events, as it can be set, and made.

Responsibility: one validated, frozen value, and from it those who follow requests, those who hear of events, and the
    log.
Guarantees: nothing is followed, and no driver loaded, that is not turned on; nothing of a prompt or an answer is told
    unless that is asked for in so many words.
Not responsible for: where OpenTelemetry sends what it gets: the application, or ``opentelemetry-instrument``, sets that
    up.
"""

from __future__ import annotations

import logging
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

from holdfast.application.section import Section
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.events import EventSink
from holdfast.ports.telemetry import Recorder

__all__ = ["Telemetry", "TelemetrySettings", "make_telemetry", "open_log"]


class TelemetrySettings(Section):
    """What is told to the outside.

    Args:
        spans: a span of OpenTelemetry for each request and each attempt, with events in them; needs the extra ``otel``.
            Default no: a span takes microseconds even where nobody keeps it.
        metrics: durations, tokens and counted events as metrics of OpenTelemetry; needs the extra ``otel``; default no.
        json_logs: write what the loggers below ``holdfast`` log to standard error, one JSON object a line, with
            request, tenant, session, attempt, backend and trace; with ``log_events`` also each event. Default no.
        log_level: from which level on; default info.
        log_prompts: log each attempt with its prompt and its answer, by the logger ``holdfast.prompts``; whoever reads
            the log may then read both. Default no.
    """

    spans: bool = False
    metrics: bool = False
    json_logs: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_prompts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """Who is told.

    Args:
        recorders: follow requests and attempts; those that trace first, so that the log can name their spans.
        sinks: hear of events.
    """

    recorders: tuple[Recorder, ...] = ()
    sinks: tuple[EventSink, ...] = ()


def make_telemetry(settings: TelemetrySettings) -> Telemetry:
    """Return who is told.

    Raises:
        ConfigurationError: the driver of what is turned on is not installed.
    """
    recorders: list[Recorder] = []
    sinks: list[EventSink] = []
    if settings.spans or settings.metrics:
        try:
            from holdfast.adapters.otel import OtelMetrics, OtelSpans  # noqa: PLC0415 - loaded when it is chosen
        except ImportError as error:
            which = "spans" if settings.spans else "metrics"
            raise ConfigurationError(str(error), path=f"telemetry.{which}") from error
        chosen: list[OtelSpans | OtelMetrics] = [OtelSpans()] if settings.spans else []
        if settings.metrics:
            chosen.append(OtelMetrics())
        recorders += chosen
        sinks += chosen
    if settings.json_logs or settings.log_prompts:
        from holdfast.adapters.logging import LogContext  # noqa: PLC0415 - as above

        recorders.append(LogContext(with_prompts=settings.log_prompts))
    return Telemetry(recorders=tuple(recorders), sinks=tuple(sinks))


def open_log(settings: TelemetrySettings) -> AbstractContextManager[None]:
    """Return the log for as long as the service is open, where it is turned on."""
    if not settings.json_logs:
        return nullcontext()
    from holdfast.adapters.logging import json_log  # noqa: PLC0415 - as above

    return json_log(sys.stderr, level=logging.getLevelNamesMapping()[settings.log_level.upper()])
