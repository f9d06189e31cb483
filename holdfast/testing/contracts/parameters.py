"""What every store of parameters must hold.

Responsibility: the contract of `holdfast.ports.parameters.ParameterStore`, as a pytest class to derive from.
Guarantees: with a store that passes, settings are followed live, and every change is met.
Not responsible for: a store that is away, refuses, or holds what is no parameter: the adapter's own tests.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import cast

import anyio
import pytest

from holdfast.ports.parameters import ParameterStore
from holdfast.testing.cancellation import cancel_at_checkpoint

__all__ = ["ParameterStoreContract"]


class ParameterStoreContract(ABC):
    """Derive from it, name the class ``Test…`` and make your store; pytest does the rest.

    Example:
        >>> class TestMyParameters(ParameterStoreContract):
        ...     def make_store(self) -> ParameterStore:
        ...         return MyParameters(address="127.0.0.1:7000")
        ...
        ...     async def write(self, values: Mapping[str, object]) -> None:
        ...         await write_into_my_store(values)
    """

    pytestmark = pytest.mark.anyio

    @abstractmethod
    def make_store(self) -> ParameterStore:
        """Return the store; each further call within a test is another process."""

    @abstractmethod
    async def write(self, values: Mapping[str, object]) -> None:
        """Let the store hold `values`, sections as mappings, in place of all that it holds."""

    @pytest.mark.parametrize(
        "values",
        [
            {"timeout_s": 5},
            {"guard": {"breaker": {"failure_ratio": 0.25}, "attempt_timeout_s": 2}, "log_events": True},
            {"prompts": {"böse": "sei nett\nund kurz"}},
            {"retrieval": {"include": ["*.md", "*.txt"]}},
        ],
    )
    async def test_parameters_written_are_read_by_section(self, values: Mapping[str, object]) -> None:
        """Numbers may come back as the text that stands for them."""
        await self.write(values)

        index, found = await self.make_store().parameters(index=0, wait_s=0.0)

        assert index is not None
        assert index >= 1
        assert _as_text(found) == _as_text(values)

    async def test_parameters_of_an_empty_store_are_none(self) -> None:
        """There are no parameters, which is an answer."""
        await self.write({})

        assert (await self.make_store().parameters(index=0, wait_s=0.0))[1] == {}

    async def test_parameters_that_are_removed_are_gone(self) -> None:
        """A value that is taken away is not remembered."""
        store = self.make_store()
        await self.write({"timeout_s": 5, "max_in_flight": 3})
        await store.parameters(index=0, wait_s=0.0)
        await self.write({"timeout_s": 5})

        assert _as_text((await store.parameters(index=0, wait_s=0.0))[1]) == {"timeout_s": "5"}

    async def test_question_with_the_index_of_the_last_answer_waits_for_a_change(self) -> None:
        """It is answered when something is written, and with that."""
        store = self.make_store()
        await self.write({"timeout_s": 5})
        index, _ = await store.parameters(index=0, wait_s=0.0)
        answers: list[Mapping[str, object]] = []

        async def wait() -> None:
            answers.append((await store.parameters(index=index or 0, wait_s=60.0))[1])

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await anyio.sleep(0.1)
                assert answers == []
                await self.write({"timeout_s": 6})

        assert [_as_text(answer) for answer in answers] == [{"timeout_s": "6"}]

    async def test_question_that_waits_in_vain_is_answered_with_what_is_known(self) -> None:
        """The index is the same, so that the next question waits again."""
        store = self.make_store()
        await self.write({"timeout_s": 5})
        index, _ = await store.parameters(index=0, wait_s=0.0)

        with anyio.fail_after(30):
            again, found = await store.parameters(index=index or 0, wait_s=0.1)

        assert again == index
        assert _as_text(found) == {"timeout_s": "5"}

    async def test_two_processes_see_the_same(self) -> None:
        """What one is told, the other one is."""
        await self.write({"timeout_s": 5})

        answers = [(await self.make_store().parameters(index=0, wait_s=0.0))[1] for _ in range(2)]

        assert answers[0] == answers[1]

    async def test_question_cancelled_at_any_checkpoint_leaves_the_store_usable(self) -> None:
        """Nothing is held, and the next question is answered."""
        store = self.make_store()
        await self.write({"timeout_s": 5})
        index, _ = await store.parameters(index=0, wait_s=0.0)
        for checkpoint in range(1, 4):
            await cancel_at_checkpoint(store.parameters(index=index or 0, wait_s=0.05), checkpoint)

        assert _as_text((await store.parameters(index=0, wait_s=0.0))[1]) == {"timeout_s": "5"}

    async def test_name_is_one_that_events_can_hold(self) -> None:
        """It holds no address, in which a password may stand."""
        name = self.make_store().name

        assert name
        assert "://" not in name
        assert "@" not in name


def _as_text(value: object) -> object:
    if isinstance(value, Mapping):
        section = cast("Mapping[str, object]", value)
        return {name: _as_text(inner) for name, inner in section.items()}
    if isinstance(value, bool):
        return str(value).lower()
    return cast("list[object]", value) if isinstance(value, list) else str(value)
