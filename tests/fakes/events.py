"""A sink that notes what it is told, and may look at whoever tells it."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.ports.events import Event, EventSink

__all__ = ["Listener"]


class Listener:
    """Keeps each event in `heard`, then does `then`, which may look at the mechanism in that very moment."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.then: Callable[[], object] = lambda: None

    def emit(self, event: Event) -> None:
        self.heard.append(event)
        self.then()


_: type[EventSink] = Listener
