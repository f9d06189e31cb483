"""Events as lines of the standard library's logging, with what they belong to, as text or as JSON."""

from holdfast.adapters.logging.context import LogContext, current_context
from holdfast.adapters.logging.events import LoggingEventSink
from holdfast.adapters.logging.json_lines import JsonFormatter, json_log

__all__ = ["JsonFormatter", "LogContext", "LoggingEventSink", "current_context", "json_log"]
