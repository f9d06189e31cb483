"""What stands around the calls of one backend.

Responsibility: retry { hedge { breaker → rate limit → pool lease → attempt timeout → call } }, for calls that stream as
    well.
Guarantees: no permit and no lease is held while a retry sleeps; each attempt, also the second one of a hedge, has a
    permit, a reservation, a lease and a record of its own; what is not idempotent is neither retried nor hedged.
Not responsible for: which backend is asked: see `holdfast.application.routing`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from holdfast.domain.circuit_breaker import BreakerConfig, CircuitBreaker
from holdfast.domain.compose import compose
from holdfast.domain.deadline import Deadline
from holdfast.domain.hedge import Hedge
from holdfast.domain.metered_call import MeteredCall
from holdfast.domain.pool import AsyncResourcePool
from holdfast.domain.rate_limit import RateLimit, RateLimitConfig
from holdfast.domain.retry import Retry
from holdfast.domain.retry_budget import RetryBudget
from holdfast.domain.stream_attempt import stream_attempt
from holdfast.domain.stream_outlet import Outlet
from holdfast.domain.stream_timeout import StreamTimeout
from holdfast.domain.timeout import Timeout
from holdfast.domain.token_estimate import estimate_prompt_tokens
from holdfast.ports.errors import BackendThrottledError, RefusedError
from holdfast.ports.inference import Completion, InferenceBackend, Prompt
from holdfast.ports.retry import RetryStrategy
from holdfast.ports.statistics import BackendHealth
from holdfast.ports.telemetry import Recorder
from holdfast.ports.trip import TripPolicy

__all__ = ["Route", "Tally"]


class Tally:
    """How often backends were called for one request.

    Attributes:
        attempts: calls begun so far.
    """

    __slots__ = ("attempts",)

    def __init__(self) -> None:
        self.attempts = 0


class Route:
    """One backend with everything that stands around it.

    Args:
        retry: outermost; sleeps without holding anything.
        hedge: asks a second time when an attempt is slow; None for never.
        budget: the one that `retry` and `hedge` draw on.
        breaker: asked before each attempt.
        rate_limit: reserved from before each attempt; told of the pauses that the backend asks for. None for no limit.
        timeout: how long one attempt may take once it has a lease.
        stream_timeout: how long one that streams may keep its readers waiting.
        pool: where the backend's instances come from; whoever opened it closes it.
        recorder: follows each attempt; None for nobody.
    """

    def __init__(  # noqa: PLR0913 - one for each part
        self,
        *,
        retry: Retry,
        hedge: Hedge | None,
        budget: RetryBudget,
        breaker: CircuitBreaker,
        rate_limit: RateLimit | None,
        timeout: Timeout,
        stream_timeout: StreamTimeout,
        pool: AsyncResourcePool[InferenceBackend],
        recorder: Recorder | None = None,
    ) -> None:
        self._retried = compose(retry, breaker)
        self._hedged = self._retried if hedge is None else compose(retry, hedge, breaker)
        self._hedge = hedge
        self._retry = retry
        self._budget = budget
        self._breaker = breaker
        self._rate_limit = rate_limit
        self._timeout = timeout
        self._stream_timeout = stream_timeout
        self._pool = pool
        self._recorder = recorder
        self._in_use = 0
        self._unused: anyio.Event | None = None

    @property
    def name(self) -> str:
        """The backend's name."""
        return self._breaker.name

    @property
    def budget(self) -> RetryBudget:
        """What retries, hedges and repairs of this backend draw on."""
        return self._budget

    def set_timeouts(self, *, attempt_s: float, idle_s: float) -> None:
        """Let attempts that begin from now on take so long; see `Timeout` and `StreamTimeout`."""
        self._timeout.timeout_s = self._stream_timeout.first_s = attempt_s
        self._stream_timeout.idle_s = idle_s

    def retry_by(self, strategy: RetryStrategy) -> None:
        """Let `strategy` decide from the next failure on."""
        self._retry.follow(strategy)

    def break_by(self, config: BreakerConfig, trip_policy: TripPolicy) -> None:
        """Let the breaker go by other numbers; see `CircuitBreaker.reconfigure`."""
        self._breaker.reconfigure(config, trip_policy=trip_policy)

    def limit_to(self, config: RateLimitConfig | None, make: Callable[[RateLimitConfig], RateLimit]) -> None:
        """Let so much through from now on, or everything; `make` makes a limit where there was none."""
        if config is None:
            self._rate_limit = None
        elif self._rate_limit is None:
            self._rate_limit = make(config)
        else:
            self._rate_limit.reconfigure(config)

    async def complete(
        self,
        prompt: Prompt,
        *,
        deadline: Deadline,
        tally: Tally,
        idempotent: bool = True,
        outlet: Outlet | None = None,
    ) -> Completion:
        """Return the backend's answer, counting each call in `tally`; stream it to `outlet` where there is one.

        What is not idempotent is called once at most. A stream is not hedged: the pieces of two would mix.
        """
        attempt = partial(self._attempt, prompt, deadline, tally, outlet)
        guard = self._breaker if not idempotent else self._hedged if outlet is None else self._retried
        self._in_use += 1
        try:
            return await guard.call(attempt, deadline=deadline)
        finally:
            self._in_use -= 1
            if self._unused is not None and not self._in_use:
                self._unused.set()

    async def wait_unused(self) -> None:
        """Return once nobody waits for its answer; for whoever has taken it out of use."""
        self._unused = anyio.Event()
        if self._in_use:
            await self._unused.wait()

    async def _attempt(self, prompt: Prompt, deadline: Deadline, tally: Tally, outlet: Outlet | None) -> Completion:
        limit = self._rate_limit
        if limit is None:
            return await self._ask(prompt, deadline, tally, outlet, None)
        with MeteredCall(limit, estimate_prompt_tokens(prompt), deadline, outlet=outlet) as metered:
            try:
                completion = await self._ask(prompt, deadline, tally, outlet, metered)
            except BackendThrottledError as error:
                if error.retry_after_s is not None:
                    limit.pause(error.retry_after_s)
                raise
            metered.answer(completion.usage)
        return completion

    async def _ask(
        self, prompt: Prompt, deadline: Deadline, tally: Tally, outlet: Outlet | None, metered: MeteredCall | None
    ) -> Completion:
        async with self._pool.lease() as lease:
            tally.attempts += 1
            if metered is not None:
                metered.begin()
            try:
                if self._recorder is None:
                    return await self._put(lease.resource, prompt, outlet, deadline)
                return await self._put_and_follow(
                    self._recorder, lease.resource, prompt, outlet, deadline, number=tally.attempts
                )
            except RefusedError:  # its model could not be loaded, so nobody was asked
                tally.attempts -= 1
                raise

    def _put(
        self, backend: InferenceBackend, prompt: Prompt, outlet: Outlet | None, deadline: Deadline
    ) -> Awaitable[Completion]:
        if outlet is not None:
            return stream_attempt(backend, prompt, outlet, name=self.name, timeout=self._stream_timeout)
        return self._timeout.call(partial(backend.complete, prompt), deadline=deadline)

    async def _put_and_follow(
        self,
        recorder: Recorder,
        backend: InferenceBackend,
        prompt: Prompt,
        outlet: Outlet | None,
        deadline: Deadline,
        *,
        number: int,
    ) -> Completion:
        record = recorder.begin_attempt(prompt, backend=self.name, number=number)
        try:
            completion = await self._put(backend, record.prompt, outlet, deadline)
        except BaseException as error:
            record.end(completion=None, error=error)
            raise
        record.end(completion=completion, error=None)
        return completion

    def health(self) -> BackendHealth:
        """Return what retry budget, hedge, breaker, rate limit and pool count."""
        return BackendHealth(
            name=self.name,
            retry_budget=self._budget.statistics(),
            hedge=None if self._hedge is None else self._hedge.statistics(),
            breaker=self._breaker.statistics(),
            rate_limit=None if self._rate_limit is None else self._rate_limit.statistics(),
            pool=self._pool.statistics(),
        )
