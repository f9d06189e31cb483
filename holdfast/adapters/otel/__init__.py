"""Requests, attempts and events as metrics and spans of OpenTelemetry; needs the extra ``otel``."""

from holdfast.adapters.otel.metrics import OtelMetrics
from holdfast.adapters.otel.spans import OtelSpans

__all__ = ["OtelMetrics", "OtelSpans"]
