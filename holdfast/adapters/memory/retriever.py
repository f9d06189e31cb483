"""Passages from memory.

Responsibility: `Retriever` over passages that are given, for tests and small fixed texts.
Guarantees: a passage's score is the number of the query's words that it holds.
Not responsible for: weighing words by rarity, and inflected forms: see `holdfast.adapters.sqlite.fts_retriever`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import anyio.lowlevel

from holdfast.ports.retrieval import Passage, Retriever
from holdfast.ports.search_terms import search_terms

__all__ = ["MemoryRetriever"]


class MemoryRetriever:
    """Finds passages among those that it was given.

    Args:
        passages: what can be found; their scores are not looked at.
    """

    def __init__(self, passages: Iterable[Passage]) -> None:
        self._passages = tuple((_words(passage), passage) for passage in passages)

    async def retrieve(self, query: str, *, limit: int = 5) -> tuple[Passage, ...]:
        """Return at most `limit` passages that hold a word of `query`, best first."""
        await anyio.lowlevel.checkpoint()
        terms = frozenset(search_terms(query))
        found = [
            dataclasses.replace(passage, score=float(len(shared)))
            for words, passage in self._passages
            if (shared := terms & words)
        ]
        found.sort(key=lambda passage: (-passage.score, passage.source, passage.heading))
        return tuple(found[: max(0, limit)])


def _words(passage: Passage) -> frozenset[str]:
    text = f"{passage.heading} {passage.text}"
    return frozenset(search_terms(text, limit=len(text)))


_: type[Retriever] = MemoryRetriever
