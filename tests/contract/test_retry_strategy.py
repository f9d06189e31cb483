from __future__ import annotations

import pytest
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    retry_if_not_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_combine,
    wait_exponential_jitter,
    wait_fixed,
    wait_random,
    wait_random_exponential,
)

from holdfast.adapters.tenacity import TenacityStrategy
from holdfast.domain.retry_policy import Jitter, RetryPolicy
from holdfast.ports.retry import RetryStrategy
from holdfast.testing.contracts import RetryStrategyContract


class TestRetryPolicy(RetryStrategyContract):
    @pytest.fixture(params=list(Jitter), autouse=True)
    def _each_jitter(self, request: pytest.FixtureRequest) -> None:
        self.jitter = request.param

    def make_strategy(self, *, max_attempts: int) -> RetryStrategy:
        return RetryPolicy(max_attempts=max_attempts, jitter=self.jitter)


class TestTenacityStrategy(RetryStrategyContract):
    def make_strategy(self, *, max_attempts: int) -> RetryStrategy:
        return TenacityStrategy(stop=stop_after_attempt(max_attempts), wait=wait_exponential_jitter(max=20))


class TestTenacityComposition(RetryStrategyContract):
    def make_strategy(self, *, max_attempts: int) -> RetryStrategy:
        return TenacityStrategy(
            stop=stop_after_attempt(max_attempts) | stop_after_delay(1_000_000),
            wait=wait_combine(wait_fixed(0.1), wait_random(0, 1)) + wait_random_exponential(multiplier=0.05, max=20),
            retry=retry_if_exception_type(OSError) & retry_if_not_exception_type(TimeoutError),
        )


class TestTenacityRetrying(RetryStrategyContract):
    def make_strategy(self, *, max_attempts: int) -> RetryStrategy:
        return TenacityStrategy.of(AsyncRetrying(stop=stop_after_attempt(max_attempts), wait=wait_fixed(0.1)))
