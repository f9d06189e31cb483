"""Who is trusted, in this process's memory.

Responsibility: `TrustList` without a disk, for tests and for a list that is given when the process starts.
Guarantees: those of the port, as long as the process lives.
Not responsible for: what may be changed: whoever changes it decides that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from holdfast.ports.did import Did
from holdfast.ports.identity import TrustChange, TrustList, TrustRecord

__all__ = ["MemoryTrustList"]


class MemoryTrustList:
    """Knows what it is told until the process ends. For one event loop; no call waits.

    Args:
        records: what is known at first; by default nobody is trusted.
    """

    def __init__(self, records: Iterable[TrustRecord] = ()) -> None:
        self._known = {record.did: record for record in records}

    async def find(self, did: Did) -> TrustRecord | None:
        """Return what is known about `did`."""
        return self._known.get(did)

    async def records(self) -> Mapping[Did, TrustRecord]:
        """Return all that is known, in order of the DIDs."""
        return dict(sorted(self._known.items()))

    async def change(self, decide: TrustChange) -> tuple[TrustRecord, ...]:
        """Put the records that `decide` returns in the place of those of the same DIDs."""
        changed = tuple(decide(await self.records()))
        self._known.update((record.did, record) for record in changed)
        return changed


_: type[TrustList] = MemoryTrustList
