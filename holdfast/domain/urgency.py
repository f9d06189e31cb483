"""How urgent a piece of work is, while it can still change.

Responsibility: the priority and the deadline of one flight, which move up when a more urgent caller joins it.
Guarantees: the priority only rises and the deadline only gets later; the one watcher hears of every rise.
Not responsible for: ordering by it: see `holdfast.domain.admission`.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast.domain.deadline import Deadline
from holdfast.ports.service import Priority

__all__ = ["Urgency"]


class Urgency:
    """The priority and deadline of one piece of work.

    Args:
        priority: how urgent it is.
        deadline: by when it must have ended.
    """

    __slots__ = ("_on_rise", "deadline", "priority")

    def __init__(self, priority: Priority, deadline: Deadline) -> None:
        self.priority = priority
        self.deadline = deadline
        self._on_rise: Callable[[], None] | None = None

    def rise_to(self, other: Urgency) -> None:
        """Take the higher priority and the later deadline of both, and tell the watcher if the priority rose."""
        self.deadline.postpone_to(other.deadline)
        if other.priority < self.priority:
            self.priority = other.priority
            if self._on_rise is not None:
                self._on_rise()

    def watch(self, on_rise: Callable[[], None] | None) -> None:
        """Call `on_rise` whenever the priority rises; None stops that. The queue that holds the work watches it."""
        self._on_rise = on_rise

    def copy(self) -> Urgency:
        """Return an unwatched urgency of the same priority and deadline, which rises on its own."""
        return Urgency(self.priority, self.deadline.copy())
