from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from holdfast.adapters.memory.retriever import MemoryRetriever
from holdfast.adapters.sqlite.fts_retriever import FtsRetriever
from holdfast.adapters.system.clock import SystemClock
from holdfast.ports.retrieval import Passage, Retriever
from holdfast.testing.contracts.retriever import RetrieverContract, Serve


class TestMemoryRetriever(RetrieverContract):
    @pytest.fixture
    def serve(self) -> Serve:
        @asynccontextmanager
        async def serve(passages: Sequence[Passage]) -> AsyncGenerator[Retriever]:
            yield MemoryRetriever(passages)

        return serve


@pytest.mark.real_time
class TestFtsRetriever(RetrieverContract):
    @pytest.fixture(params=["memory", "file"])
    def serve(self, request: pytest.FixtureRequest, tmp_path: Path) -> Serve:
        folder = tmp_path / "documents"
        index = tmp_path / "index.sqlite" if request.param == "file" else None

        @asynccontextmanager
        async def serve(passages: Sequence[Passage]) -> AsyncGenerator[Retriever]:
            folder.mkdir()
            for passage in passages:
                path = folder / passage.source
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"# {passage.heading}\n\n{passage.text}\n", encoding="utf-8")
            async with FtsRetriever(folder, clock=SystemClock(), index=index) as retriever:
                yield retriever

        return serve
