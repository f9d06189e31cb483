"""What one retrieval costs among 10 000 passages; design budget P50 5 ms, P99 20 ms.

The documents are 2000 files of five sections. Their words are drawn as those of natural text are, the n-th most
frequent one about 1/n as often as the first; queries take three to nine words, leaving out the 30 most frequent ones,
as stop words are. Run: ``python benchmarks/bench_retrieval.py``.
"""

from __future__ import annotations

import itertools
import random
import sqlite3
import tempfile
from pathlib import Path

import anyio
from harness import Row, measure_async, report

from holdfast.adapters.memory.retriever import MemoryRetriever
from holdfast.adapters.sqlite.fts_retriever import FtsRetriever
from holdfast.adapters.system.clock import SystemClock
from holdfast.ports.retrieval import Passage, Retriever

FILES = 2000
SECTIONS = 5
WORDS_PER_SECTION = 150
VOCABULARY = [
    f"{first}{second}{third}x" for first, second, third in itertools.product("bdfgklmnprst", "aeiou", range(300))
]
FREQUENCIES = [1 / (rank + 1) for rank in range(len(VOCABULARY))]
STOP_WORDS = 30


def draw(source: random.Random, count: int, *, skip: int = 0) -> str:
    """Return `count` words, frequent ones more often."""
    return " ".join(source.choices(VOCABULARY[skip:], FREQUENCIES[skip:], k=count))


def write_documents(folder: Path, source: random.Random) -> list[Passage]:
    """Write the files and return their passages."""
    folder.mkdir()
    passages: list[Passage] = []
    for number in range(FILES):
        sections = [(draw(source, 3), draw(source, WORDS_PER_SECTION)) for _ in range(SECTIONS)]
        body = "\n\n".join(f"## {heading}\n\n{text}" for heading, text in sections)
        (folder / f"{number}.md").write_text(f"# {draw(source, 4)}\n\n{body}\n", encoding="utf-8")
        passages += [Passage(source=f"{number}.md", heading=heading, text=text, score=0) for heading, text in sections]
    return passages


async def measure_retriever(
    path: str, retriever: Retriever, queries: list[str], *, budgets: tuple[float | None, float | None] = (None, None)
) -> Row:
    """Time one query after the other, each a different one."""
    turn = itertools.cycle(queries)
    return await measure_async(
        path,
        lambda: retriever.retrieve(next(turn), limit=5),
        calls=len(queries),
        rounds=5,
        budget_p50_us=budgets[0],
        budget_p99_us=budgets[1],
    )


async def measure_all() -> list[Row]:
    """Measure every path over the same documents."""
    source = random.Random(20261121)
    with tempfile.TemporaryDirectory() as root:
        documents = Path(root, "documents")
        passages = write_documents(documents, source)
        queries = [draw(source, source.randint(3, 9), skip=STOP_WORDS) for _ in range(300)]
        async with FtsRetriever(documents, clock=SystemClock(), index=Path(root, "index.sqlite")) as retriever:
            found = (await retriever.refresh()).passages
            budgets = (5_000.0, 20_000.0)
            file = await measure_retriever(f"FTS5, {found} passages, index file", retriever, queries, budgets=budgets)
            again = await measure_retriever("FTS5, one query again and again", retriever, queries[:1] * 300)
        memory = await measure_retriever("word overlap in memory", MemoryRetriever(passages), queries[:20])
    return [file, again, memory]


def main() -> bool:
    """Print the table and return whether the budgets are kept."""
    return report(f"Retrieval, SQLite {sqlite3.sqlite_version}", anyio.run(measure_all))


if __name__ == "__main__":
    raise SystemExit(not main())
