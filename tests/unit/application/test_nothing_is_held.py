"""That the check which ends most tests of the wired path misses no count: many more of any are noticed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final

import anyio
import pytest

from holdfast.ports.statistics import Health
from tests.fakes.everything import load, opened
from tests.fakes.service import assert_nothing_is_held

pytestmark = pytest.mark.anyio

FREE: Final = {
    "admission.limit.limit",
    "backends.breaker.adopted",
    "backends.breaker.generation",
    "backends.breaker.opened",
    "backends.breaker.refused",
    "backends.breaker.would_have_opened",
    "backends.hedge.calls",
    "backends.hedge.samples",
    "backends.pool.failures",
    "backends.pool.leases",
    "backends.pool.max_size",
    "backends.pool.refused",
    "backends.pool.timeouts",
    "backends.rate_limit.tokens_used",
    "backends.retry_budget.tokens",
    "deduplication.size_bytes",
    "events.buffer.size_bytes",
    "events.sink_failures",
    "latency.buffer.refused",
    "latency.buffer.size_bytes",
    "memory.freed_bytes",
    "memory.max_bytes",
    "memory.refused",
    "models.max_loaded",
    "output.repairs",
    "registry.registration.listed",
    "sessions.conflicts",
    "sessions.size_bytes",
    "sessions.trimmed_turns",
    "streams.interrupted",
    "streams.stalled",
    "tenants.dropped",
    "tenants.tokens_used",
    "tenants.tracked",
}
"""What no equation holds: bounds and sizes, what is left, and counts of what happens beside the others."""

MANY: Final = 10**9


def with_many_more(value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - any statistics
    """Give the path of each count within `value`, and `value` with many more of it."""
    for field in fields(value):
        inner = getattr(value, field.name)
        if field.name == "backends":
            for path, changed in with_many_more(inner[0]):
                yield f"backends.{path}", replace(value, backends=(changed, *inner[1:]))
        elif is_dataclass(inner):
            for path, changed in with_many_more(inner):
                yield f"{field.name}.{path}", replace(value, **{field.name: changed})
        elif isinstance(inner, int):
            yield field.name, replace(value, **{field.name: inner + MANY})


def is_noticed(health: Health) -> bool:
    try:
        assert_nothing_is_held(health)
    except AssertionError:
        return True
    return False


async def test_assert_nothing_is_held_notices_many_more_of_any_count_that_an_equation_holds() -> None:
    async with opened(1) as orchestrator:
        await load(orchestrator, seed=1, requests=50)
        await anyio.sleep(100.0)
        health = orchestrator.health()

    assert_nothing_is_held(health)
    missed = {path for path, changed in with_many_more(health) if not is_noticed(changed)}
    assert missed == FREE
