from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

from holdfast.adapters.memory.budgets import MemoryBudgets
from holdfast.adapters.redis.budgets import RedisBudgets
from holdfast.ports.budget_store import BudgetStore
from holdfast.ports.clock import Clock
from holdfast.testing.contracts.budget_store import BudgetStoreContract
from tests.fakes.redis_clock import InRedis


class TestMemoryBudgets(BudgetStoreContract):
    def open_store(self, clock: Clock) -> AbstractAsyncContextManager[BudgetStore]:
        return nullcontext(MemoryBudgets(clock=clock))


class TestRedisBudgets(InRedis[BudgetStore], BudgetStoreContract):
    make = RedisBudgets
