"""pybreaker as the judge of settled calls, not as the guard around them.

Responsibility: tell a pybreaker how each call ended, and ask it whether that was one failure too many.
Guarantees: the pybreaker hears of a call only after it has settled, so its lock is never held while a call runs; its
    listeners, `fail_max` and `exclude` work as they do without Holdfast.
Not responsible for: opening times and probes. Holdfast's breaker owns those, so that `reset_timeout` and
    `success_threshold` of the pybreaker are not used (adr/0004).
Source: pybreaker 1.4.1, `CircuitBreakerState.call` and `CircuitClosedState.on_failure`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, NoReturn

from holdfast.ports.errors import HoldfastError
from holdfast.ports.outcome import Outcome
from holdfast.ports.trip import TripPolicy

try:
    import pybreaker
except ImportError as error:
    raise ImportError(
        "holdfast.adapters.pybreaker needs pybreaker: pip install 'holdfast[pybreaker]'", name="pybreaker"
    ) from error

__all__ = ["PybreakerTripPolicy"]

_log = logging.getLogger(__name__)


class PybreakerTripPolicy:
    """Trips when a pybreaker does.

    A slow call is a success to it: pybreaker does not know slow calls.

    Args:
        breaker: used by this policy alone, and with the storage in memory; any other storage would block the event
            loop at each settled call.

    Example:
        >>> import pybreaker
        >>> policy = PybreakerTripPolicy(pybreaker.CircuitBreaker(fail_max=2))
        >>> [policy.record(Outcome.FAILURE, now_s=0.0) for _ in range(2)]
        [False, True]
    """

    __slots__ = ("_breaker",)

    def __init__(self, breaker: pybreaker.CircuitBreaker) -> None:
        self._breaker = breaker

    def record(self, outcome: Outcome, *, now_s: float, error: Exception | None = None) -> bool:
        """Replay the call to the pybreaker; return True when that one is open, or would be but for its listeners."""
        del now_s  # pybreaker counts failures in a row; it has no window
        if outcome is Outcome.SUCCESS or outcome is Outcome.SLOW:
            self._contain(lambda: self._breaker.call(_succeed))
        else:
            failure = error if error is not None else HoldfastError(f"a call ended as {outcome.value}")
            traceback, context = failure.__traceback__, failure.__context__
            self._contain(lambda: self._breaker.call(_fail, failure), expected=failure)
            failure.__traceback__, failure.__context__ = traceback, context
        breaker = self._breaker
        return breaker.current_state == pybreaker.STATE_OPEN or breaker.fail_counter >= breaker.fail_max

    def reset(self, *, now_s: float) -> None:
        """Close the pybreaker, which also clears its counter; silent when there is nothing to clear."""
        del now_s
        if self._breaker.current_state != pybreaker.STATE_CLOSED or self._breaker.fail_counter:
            self._contain(self._breaker.close)

    def _contain(self, action: Callable[[], None], expected: Exception | None = None) -> None:
        try:
            action()
        except pybreaker.CircuitBreakerError:
            pass
        except Exception as raised:  # noqa: BLE001 - a supervisor
            # The call that is being settled has a result or an error of its own, and no listener may take its place.
            if raised is not expected:
                _log.exception("a listener or an exclusion of pybreaker %r raised", self._breaker.name)


def _succeed() -> None:
    """Stand in for a call that succeeded."""


def _fail(error: Exception) -> NoReturn:
    raise error


_: Final[type[TripPolicy]] = PybreakerTripPolicy
