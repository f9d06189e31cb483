"""Events as lines of the standard library's logging."""

from holdfast.adapters.logging.events import LoggingEventSink

__all__ = ["LoggingEventSink"]
