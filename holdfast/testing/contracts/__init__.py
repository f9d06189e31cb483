"""One contract suite for each port, as a pytest base class; an adapter is right when its subclass passes."""

from holdfast.testing.contracts.retry_strategy import RetryStrategyContract

__all__ = ["RetryStrategyContract"]
