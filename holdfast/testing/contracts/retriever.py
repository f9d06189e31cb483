"""What every `Retriever` must do.

Responsibility: the contract of `holdfast.ports.retrieval`, as tests.
Guarantees: a retriever that passes can stand in for any other.
Not responsible for: how well it ranks, beyond that more words of the query are better than fewer.
"""

# ruff: noqa: D102 - a test's name is its docstring
from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

import anyio
import pytest

from holdfast.ports.retrieval import Passage, Retriever
from holdfast.testing.cancellation import sweep_cancellation

__all__ = ["RetrieverContract", "Serve"]

Serve = Callable[[Sequence[Passage]], AbstractAsyncContextManager[Retriever]]
"""Opens a retriever that finds the given passages; each has a source of its own, a heading and one line of text."""


def _passage(source: str, heading: str, text: str) -> Passage:
    return Passage(source=source, heading=heading, text=text, score=0.0)


_PASSAGES: Final = (
    _passage("pool.md", "Resource pool", "Leases go to waiters in order of arrival."),
    _passage("deep/queue.md", "Admission queue", "Urgent entries overtake others, in order of priority."),
    _passage("breaker.txt.md", "Circuit breaker", "Five failures in a row open it; a probe closes it."),
)

_HOSTILE: Final = {
    "empty": "",
    "blank": " \n\t",
    "stop words": "what is it and why?",
    "punctuation": "?!…–/\\",
    "quotes": '"pool" \' "',
    "operators": "pool AND OR NOT NEAR(a b) NEAR/2",
    "columns": "heading:pool {a b}:c -d ^e f* + g",
    "unbalanced": 'pool ) ( " } {',
    "sql": "pool'; DROP TABLE passage; --",
    "nul": "pool\x00\x00",
    "lone surrogate": "pool \ud800",
    "right to left": "\u202epool\u202c مسبح",
    "combining marks": "p\u0301o\u0308ol" + "\u0301" * 1000,
    "one word of a megabyte": "p" * 1_000_000,
    "a megabyte of words": "pool leases waiters " * 50_000,
    "a megabyte of quotes": '"' * 1_000_000,
}


class RetrieverContract:
    """Subclass it as ``Test…`` with a fixture ``serve``; mark the subclass ``real_time`` if it uses threads."""

    pytestmark = pytest.mark.anyio

    async def test_retrieve_a_word_finds_the_passage_as_it_was_given(self, serve: Serve) -> None:
        async with serve(_PASSAGES) as retriever:
            (found,) = await retriever.retrieve("Who gets leases?", limit=5)

        assert (found.source, found.heading, found.text) == (
            "pool.md",
            "Resource pool",
            "Leases go to waiters in order of arrival.",
        )

    async def test_retrieve_a_word_of_a_heading_finds_the_passage_below(self, serve: Serve) -> None:
        async with serve(_PASSAGES) as retriever:
            found = await retriever.retrieve("admission", limit=5)

        assert [passage.source for passage in found] == ["deep/queue.md"]

    async def test_retrieve_in_other_letter_case_finds_the_same(self, serve: Serve) -> None:
        async with serve(_PASSAGES) as retriever:
            assert await retriever.retrieve("PROBE", limit=5) == await retriever.retrieve("probe", limit=5) != ()

    async def test_retrieve_what_nothing_holds_finds_nothing(self, serve: Serve) -> None:
        async with serve(_PASSAGES) as retriever:
            assert await retriever.retrieve("zeppelin", limit=5) == ()

    async def test_retrieve_from_no_passages_finds_nothing(self, serve: Serve) -> None:
        async with serve(()) as retriever:
            assert await retriever.retrieve("pool", limit=5) == ()

    async def test_retrieve_only_stop_words_finds_nothing(self, serve: Serve) -> None:
        async with serve(_PASSAGES) as retriever:
            assert await retriever.retrieve("what is in it, and why?", limit=5) == ()

    async def test_retrieve_more_than_the_limit_gives_the_best(self, serve: Serve) -> None:
        async with serve(_PASSAGES) as retriever:
            every = await retriever.retrieve("order of priority", limit=5)

            assert len(every) == 2
            assert await retriever.retrieve("order of priority", limit=1) == every[:1]
            assert await retriever.retrieve("order of priority", limit=0) == ()

    async def test_retrieve_passage_with_more_words_of_the_query_comes_first(self, serve: Serve) -> None:
        async with serve(_PASSAGES) as retriever:
            found = await retriever.retrieve("order of priority", limit=5)

        assert [passage.source for passage in found] == ["deep/queue.md", "pool.md"]
        assert found[0].score > found[1].score

    async def test_retrieve_equal_scores_come_in_order_of_source(self, serve: Serve) -> None:
        passages = [_passage(f"{name}.md", "Twin", "same words") for name in ("c", "a", "b")]

        async with serve(passages) as retriever:
            found = await retriever.retrieve("words", limit=5)

        assert [passage.source for passage in found] == ["a.md", "b.md", "c.md"]
        assert len({passage.score for passage in found}) == 1

    @pytest.mark.parametrize("query", list(_HOSTILE.values()), ids=list(_HOSTILE))
    async def test_retrieve_any_text_is_a_valid_query(self, serve: Serve, query: str) -> None:
        async with serve(_PASSAGES) as retriever:
            found = await retriever.retrieve(query, limit=5)

        assert {passage.source for passage in found} <= {passage.source for passage in _PASSAGES}

    async def test_retrieve_by_many_tasks_at_once_gives_each_its_own_answer(self, serve: Serve) -> None:
        queries = ["leases", "urgent", "probe"] * 5
        answers: dict[int, tuple[Passage, ...]] = {}

        async with serve(_PASSAGES) as retriever:
            alone = [await retriever.retrieve(query, limit=5) for query in queries]

            async def ask(number: int) -> None:
                answers[number] = await retriever.retrieve(queries[number], limit=5)

            async with anyio.create_task_group() as tasks:
                for number in range(len(queries)):
                    tasks.start_soon(ask, number)

        assert [answers[number] for number in range(len(queries))] == alone

    async def test_retrieve_cancelled_at_any_checkpoint_leaves_the_next_answer_whole(self, serve: Serve) -> None:
        async with serve(_PASSAGES) as retriever:
            expected = await retriever.retrieve("leases", limit=5)

            async def check() -> None:
                assert await retriever.retrieve("leases", limit=5) == expected

            assert await sweep_cancellation(lambda: _retrieve(retriever), check) > 0


async def _retrieve(retriever: Retriever) -> None:
    await retriever.retrieve("leases", limit=5)
