"""Whether and when to retry, decided by tenacity's own objects.

Responsibility: ask a tenacity composition of `retry`, `stop` and `wait` about one failed attempt.
Guarantees: the composition sees a `RetryCallState` made for this decision alone, whose times come from the caller's
    clock, so concurrent callers share nothing; it is never asked about a cancellation; it retries nothing that the
    verdict forbids, and nothing sooner than the peer asked for; what could not take effect is refused at construction.
Not responsible for: calling and sleeping: see `holdfast.domain.retry`. tenacity's random waits draw from the `random`
    module, not from the caller's source.
Source: tenacity 9.2.1, `BaseRetrying.iter`: the order retry, wait, stop, and what `TryAgain` means.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator

from holdfast.ports.errors import ConfigurationError
from holdfast.ports.retry import FailedAttempt, RetryStrategy

try:
    import tenacity
except ImportError as error:
    raise ImportError(
        "holdfast.adapters.tenacity needs tenacity: pip install 'holdfast[tenacity]'", name="tenacity"
    ) from error

from tenacity.retry import RetryBaseT
from tenacity.stop import StopBaseT
from tenacity.wait import WaitBaseT

__all__ = ["TenacityStrategy"]

_RETRY_FAILURES = tenacity.retry_if_exception_type()


class TenacityStrategy:
    """Lets tenacity's objects decide after each failed attempt.

    The last error surfaces as it is, as with tenacity's ``reraise=True``; a `TryAgain` is retried whatever `retry`
    says. A plain callable is taken at its word: it must be synchronous, return what tenacity expects of it, and look at
    failures only.

    Args:
        stop: when to give up; there is no default, because tenacity's is never.
        wait: the delay before the next attempt; an infinite one gives up.
        retry: which failures to retry. Default every `Exception`, as in tenacity.
        max_retry_after_s: seconds of Retry-After above which to give up. Default 60.0, as in `RetryPolicy`.

    Raises:
        ConfigurationError: if a part is asynchronous, if `retry` would retry a success, which it is never asked about,
            or if `max_retry_after_s` is negative or not finite.

    Example:
        >>> from tenacity import stop_after_attempt, stop_after_delay, wait_exponential_jitter
        >>> strategy = TenacityStrategy(
        ...     stop=stop_after_attempt(5) | stop_after_delay(30), wait=wait_exponential_jitter(max=20)
        ... )
    """

    __slots__ = ("_max_retry_after_s", "_retrying")

    def __init__(
        self,
        *,
        stop: StopBaseT,
        wait: WaitBaseT,
        retry: RetryBaseT = _RETRY_FAILURES,
        max_retry_after_s: float = 60.0,
    ) -> None:
        for path, rule in (("retry", retry), ("stop", stop), ("wait", wait)):
            for leaf in _leaves(rule):
                if inspect.iscoroutinefunction(leaf) or inspect.iscoroutinefunction(type(leaf).__call__):
                    raise ConfigurationError(
                        f"{leaf!r} is asynchronous; a decision is made without waiting: give a plain function",
                        path=f"tenacity.{path}",
                    )
        if _retries_successes(retry):
            raise ConfigurationError(
                "it would retry a call that succeeded, and is asked about failures only: "
                "raise from the work where its result is not good enough, and leave the rest to retry_if_exception_*",
                path="tenacity.retry",
            )
        if not (math.isfinite(max_retry_after_s) and max_retry_after_s >= 0):
            raise ConfigurationError(
                f"must be a finite number of at least 0, not {max_retry_after_s!r}", path="tenacity.max_retry_after_s"
            )
        # Never called: it holds the three, and is what a custom rule finds as `retry_state.retry_object`.
        self._retrying = tenacity.Retrying(retry=retry, stop=stop, wait=wait)
        self._max_retry_after_s = max_retry_after_s

    @classmethod
    def of(cls, retrying: tenacity.BaseRetrying) -> TenacityStrategy:
        """Return the strategy of an existing `Retrying` or `AsyncRetrying`.

        Raises:
            ConfigurationError: as the constructor does, and if it has anything but `retry`, `stop`, `wait`, `reraise`
                and a name: a hook or a sleep of its own would have no effect here.
        """
        blanks = (vars(tenacity.Retrying()), vars(tenacity.AsyncRetrying()))
        for option, value in vars(retrying).items():
            if option in {"retry", "stop", "wait", "reraise"} or option.startswith("_"):
                continue
            if all(value is not blank.get(option) for blank in blanks):
                raise ConfigurationError(
                    f"{value!r} would have no effect here; leave it out", path=f"tenacity.{option}"
                )
        return cls(retry=retrying.retry, stop=retrying.stop, wait=retrying.wait)

    def delay_before_next_s(self, failed: FailedAttempt) -> float | None:
        """Return the seconds to wait before the next attempt, or None to give up."""
        verdict = failed.verdict
        asked_s = verdict.retry_after_s
        if not failed.may_be_retried or (asked_s is not None and asked_s > self._max_retry_after_s):
            return None
        rules = self._retrying
        state = _state_of(failed, rules)
        if not (isinstance(failed.error, tenacity.TryAgain) or rules.retry(state)):
            return None
        state.upcoming_sleep = max(rules.wait(state), verdict.least_delay_s(failed.uniform))
        if rules.stop(state) or not math.isfinite(state.upcoming_sleep):
            return None
        return state.upcoming_sleep


def _state_of(failed: FailedAttempt, rules: tenacity.BaseRetrying) -> tenacity.RetryCallState:
    error = failed.error
    state = tenacity.RetryCallState(rules, None, (), {})
    state.attempt_number = failed.number
    state.idle_for = failed.slept_s
    state.set_exception((type(error), error, error.__traceback__))
    # After `set_exception`, which reads a clock of its own.
    state.start_time = 0.0
    state.outcome_timestamp = failed.elapsed_s
    return state


def _leaves(rule: object) -> Iterator[object]:
    """Yield what a composition asks in the end, and the functions that these were given."""
    match rule:
        case (
            tenacity.retry_any(retries=parts)
            | tenacity.retry_all(retries=parts)
            | tenacity.stop_any(stops=parts)
            | tenacity.stop_all(stops=parts)
            | tenacity.wait_combine(wait_funcs=parts)
            | tenacity.wait_chain(strategies=parts)
        ):
            for part in parts:
                yield from _leaves(part)
        case _:
            # `retry_if_exception` and `wait_exception` ask a function that they were given; others are that function.
            yield from (rule, getattr(rule, "predicate", rule))


def _retries_successes(rule: RetryBaseT) -> bool:
    match rule:
        case tenacity.retry_any(retries=parts):
            return any(map(_retries_successes, parts))
        case tenacity.retry_all(retries=parts):
            return all(map(_retries_successes, parts))
        case _:
            return rule is tenacity.retry_always or isinstance(
                rule,
                tenacity.retry_if_result
                | tenacity.retry_if_not_result
                | tenacity.retry_unless_exception_type
                | tenacity.retry_if_not_exception_message,
            )


_: type[RetryStrategy] = TenacityStrategy
