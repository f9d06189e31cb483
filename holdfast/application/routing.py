"""Which backend answers, and what stands around each call.

Responsibility: one route for each backend - retry { breaker → rate limit → pool lease → attempt timeout → call } -
    and the fallback from one route to the next, for calls that stream as well.
Guarantees: a caller's mistake is raised at once and tried nowhere else, and so is a failure once a piece of a stream
    has gone out; when every route fails, the last real failure surfaces, with a note for each of the others; no permit
    and no lease is held while a retry sleeps.
Not responsible for: the deadline, which the door enforces, and admission.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.domain.circuit_breaker import CircuitBreaker
from holdfast.domain.compose import compose
from holdfast.domain.deadline import Deadline
from holdfast.domain.metered_call import MeteredCall
from holdfast.domain.pool import AsyncResourcePool
from holdfast.domain.rate_limit import RateLimit
from holdfast.domain.retry import Retry
from holdfast.domain.retry_budget import RetryBudget
from holdfast.domain.stream_attempt import stream_attempt
from holdfast.domain.stream_outlet import Outlet
from holdfast.domain.stream_timeout import StreamTimeout
from holdfast.domain.timeout import Timeout
from holdfast.domain.token_estimate import estimate_prompt_tokens
from holdfast.ports.errors import BackendRequestError, BackendThrottledError, RefusedError, RequestError
from holdfast.ports.events import EventSink, FellBack
from holdfast.ports.inference import Completion, InferenceBackend, Prompt
from holdfast.ports.statistics import BackendHealth

__all__ = ["FallbackRouter", "Route", "Routed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """A completion, and what it took to get it.

    Args:
        completion: what the backend said.
        backend: which one said it.
        attempts: calls made, over all backends.
    """

    completion: Completion
    backend: str
    attempts: int


class _Tally:
    __slots__ = ("attempts",)

    def __init__(self) -> None:
        self.attempts = 0


class Route:
    """One backend with everything that stands around it.

    Args:
        retry: outermost; sleeps without holding anything.
        budget: the one that `retry` draws on.
        breaker: asked before each attempt.
        rate_limit: reserved from before each attempt; told of the pauses that the backend asks for. None for no limit.
        timeout: how long one attempt may take once it has a lease.
        stream_timeout: how long one that streams may keep its readers waiting.
        pool: where the backend's instances come from; whoever opened it closes it.
    """

    def __init__(  # noqa: PLR0913 - one for each part
        self,
        *,
        retry: Retry,
        budget: RetryBudget,
        breaker: CircuitBreaker,
        rate_limit: RateLimit | None,
        timeout: Timeout,
        stream_timeout: StreamTimeout,
        pool: AsyncResourcePool[InferenceBackend],
    ) -> None:
        self._guard = compose(retry, breaker)
        self._budget = budget
        self._breaker = breaker
        self._rate_limit = rate_limit
        self._timeout = timeout
        self._stream_timeout = stream_timeout
        self._pool = pool

    @property
    def name(self) -> str:
        """The backend's name."""
        return self._breaker.name

    async def complete(
        self, prompt: Prompt, *, deadline: Deadline, tally: _Tally, outlet: Outlet | None = None
    ) -> Completion:
        """Return the backend's answer, counting each call in `tally`; stream it to `outlet` where there is one."""

        async def ask(metered: MeteredCall | None) -> Completion:
            async with self._pool.lease() as lease:
                tally.attempts += 1
                if metered is not None:
                    metered.begin()
                if outlet is not None:
                    return await stream_attempt(
                        lease.resource, prompt, outlet, name=self.name, timeout=self._stream_timeout
                    )
                return await self._timeout.call(lambda: lease.resource.complete(prompt), deadline=deadline)

        async def attempt() -> Completion:
            limit = self._rate_limit
            if limit is None:
                return await ask(None)
            with MeteredCall(limit, estimate_prompt_tokens(prompt), deadline) as metered:
                try:
                    completion = await ask(metered)
                except BackendThrottledError as error:
                    if error.retry_after_s is not None:
                        limit.pause(error.retry_after_s)
                    raise
                metered.answer(completion.usage)
            return completion

        return await self._guard.call(attempt, deadline=deadline)

    def health(self) -> BackendHealth:
        """Return what retry budget, breaker, rate limit and pool count."""
        return BackendHealth(
            name=self.name,
            retry_budget=self._budget.statistics(),
            breaker=self._breaker.statistics(),
            rate_limit=None if self._rate_limit is None else self._rate_limit.statistics(),
            pool=self._pool.statistics(),
        )


class FallbackRouter:
    """Tries the routes in order until one answers.

    Args:
        routes: at least one, the preferred one first.
        events: told each time that another one is tried.
    """

    def __init__(self, routes: Sequence[Route], *, events: EventSink | None = None) -> None:
        self.routes = tuple(routes)
        self._events = events

    async def complete(self, prompt: Prompt, *, deadline: Deadline, outlet: Outlet | None = None) -> Routed:
        """Return the first answer, and stream it to `outlet` where there is one.

        Raises:
            BackendRequestError: the backend found the request itself wrong; no other backend was asked.
            StreamInterruptedError: the backend failed after something had gone out; no other backend was asked.
            SlowReaderError: the stream was ended because nobody read on.
            Exception: the last failure of a backend, or the last refusal if none was even asked; its notes tell what
                the other backends said.
        """
        tally = _Tally()
        failures: list[tuple[Route, Exception]] = []
        for route in self.routes:
            if failures:
                self._tell_fall_back(*failures[-1], route)
            try:
                completion = await route.complete(prompt, deadline=deadline, tally=tally, outlet=outlet)
            except (BackendRequestError, RequestError):
                raise
            except Exception as error:  # noqa: BLE001 - re-raised below, once no other backend is left
                failures.append((route, error))
                if deadline.has_passed() or (outlet is not None and outlet.sent_bytes):
                    break
            else:
                return Routed(completion=completion, backend=route.name, attempts=tally.attempts)
        raise _foremost(failures)

    def _tell_fall_back(self, failed: Route, error: Exception, following: Route) -> None:
        if self._events is not None:
            self._events.emit(FellBack(failed=failed.name, following=following.name, error=type(error).__name__))


def _foremost(failures: list[tuple[Route, Exception]]) -> Exception:
    real = [failure for failure in failures if not isinstance(failure[1], RefusedError)]
    chosen = (real or failures)[-1]
    for other, error in failures:
        if other is not chosen[0]:
            chosen[1].add_note(f"backend {other.name!r}: {type(error).__name__}: {error}")
    return chosen[1]
