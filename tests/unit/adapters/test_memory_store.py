from __future__ import annotations

import pytest

from holdfast.adapters.memory import MemoryStore
from holdfast.domain.session import SessionConfig, new_session
from holdfast.ports.answer_store import AnswerClaim, Busy, Told, Won
from holdfast.ports.breaker_store import BreakerView, Opening
from holdfast.ports.budget_store import BudgetPart, BudgetReport
from holdfast.ports.rate_store import RateClaim, RateRule, RateTerms
from holdfast.ports.session import SessionTotals
from holdfast.testing import ManualClock

pytestmark = pytest.mark.anyio

LEASE_S = 10.0
SESSION = new_session(tenant="t", session_id="s", incarnation="i", system="Be brief.", max_bytes=10_000)


async def begin(store: MemoryStore, member: str) -> tuple[Told | Won | Busy, RateTerms, tuple[BudgetPart, ...]]:
    """Claim an answer, and use of a limit and of a budget, as another process; return what it is told."""
    rule = RateRule(per_s=1.0, burst=8.0, most=8.0)
    claim = RateClaim(name="r", rule=rule, spent=2.0, kept=1.0, wanted=1.0, least=0.0, retires=False)
    return (
        await store.answers.claim(AnswerClaim(key=bytes(32), claimant=member, lease_s=LEASE_S)),
        await store.rates.settle(member, 0.0, [claim], lease_s=LEASE_S),
        await store.budgets.exchange(
            member, [BudgetReport(name="b", ratio=0.2, requests=100, spent=0)], lease_s=LEASE_S
        ),
    )


async def test_lose_lets_the_next_process_begin_as_the_first() -> None:
    store = MemoryStore(clock=ManualClock())
    first = await begin(store, "a")
    second = await begin(store, "b")
    store.lose()
    after = await begin(store, "c")

    assert [told == before for told, before in zip(second, first, strict=True)] == [False, False, False]
    assert isinstance(after[0], Won)
    assert after[1:] == first[1:]


async def test_lose_closes_breakers_and_forgets_sessions_which_count_as_deleted() -> None:
    store = MemoryStore(clock=ManualClock())
    await store.breakers.open("a", Opening(lasts_s=5.0, earlier=1))
    await store.sessions.create(SESSION, bounds=SessionConfig())
    store.lose()

    assert await store.breakers.look("a") == BreakerView()
    assert store.sessions.totals() == SessionTotals(created=1, deleted=1)
