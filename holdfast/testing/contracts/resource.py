"""What every `ResourceProvider` must do.

Responsibility: the contract of `holdfast.ports.resource`, as tests.
Guarantees: a pool can rely on a provider that passes, also when its calls are cancelled.
Not responsible for: whether a resource works, nor that a cancelled `create` leaves nothing open: only the provider's
    own tests can see that.
"""

# ruff: noqa: D102 - a test's name is its docstring
from __future__ import annotations

from typing import Generic, TypeVar

import pytest

from holdfast.ports.resource import ResourceProvider
from holdfast.testing.cancellation import sweep_cancellation

__all__ = ["ResourceProviderContract"]

T = TypeVar("T")


class ResourceProviderContract(Generic[T]):
    """Subclass it as ``Test…`` with a fixture ``provider``; mark the subclass ``real_time`` if it does real I/O."""

    pytestmark = pytest.mark.anyio

    async def test_resettable_before_and_after_a_life_is_the_same(self, provider: ResourceProvider[T]) -> None:
        before = provider.resettable
        await provider.close(await provider.create())

        assert provider.resettable is before

    async def test_validate_a_new_resource_finds_it_good(self, provider: ResourceProvider[T]) -> None:
        resource = await provider.create()
        good = await provider.validate(resource)
        await provider.close(resource)

        assert good is True

    async def test_reset_of_a_resettable_resource_makes_it_good(self, provider: ResourceProvider[T]) -> None:
        resource = await provider.create()
        if provider.resettable:
            await provider.reset(resource)
        good = await provider.validate(resource)
        await provider.close(resource)

        assert good is True

    async def test_close_of_one_resource_leaves_another_good(self, provider: ResourceProvider[T]) -> None:
        first, second = await provider.create(), await provider.create()
        await provider.close(first)
        good = await provider.validate(second)
        await provider.close(second)

        assert good is True

    async def test_life_cancelled_at_any_moment_lets_the_next_one_be_whole(self, provider: ResourceProvider[T]) -> None:
        async def live() -> None:
            resource = await provider.create()
            await provider.validate(resource)
            if provider.resettable:
                await provider.reset(resource)
            await provider.close(resource)

        async def check() -> None:
            resource = await provider.create()
            good = await provider.validate(resource)
            await provider.close(resource)

            assert good is True

        await sweep_cancellation(live, check)
