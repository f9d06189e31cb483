"""Finding the passages that an answer rests on.

Responsibility: the passage, and who can find it.
Guarantees: a passage names its source and heading, so that whatever is made from it can be cited.
Not responsible for: how documents are stored or indexed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Passage", "Retriever"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A piece of a document.

    Args:
        source: the document's path, relative to the folder that was indexed.
        heading: the heading it stands under, or the document's name where there is none.
        text: the passage itself.
        score: how well it fits the query; higher is better, and comparable within one answer only.
    """

    source: str
    heading: str
    text: str
    score: float


class Retriever(Protocol):
    """Finds passages.

    Ordering: best first; equal scores in order of source and heading. Idempotency: reading changes nothing that a
    caller can see. Cancellation: may be cancelled at any moment. Errors: `RetrievalError`.
    """

    async def retrieve(self, query: str, *, limit: int) -> tuple[Passage, ...]:
        """Return at most `limit` passages that fit the query; none when nothing fits."""
        ...
