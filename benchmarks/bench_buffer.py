"""What a bounded send costs: into a buffer with room, and into a full one that has to evict."""

from __future__ import annotations

import sys

import anyio
from harness import Row, measure, report

from holdfast.domain.buffer import BufferConfig, MemorySafeBuffer, OverflowPolicy

_ITEM = b"x" * 100


async def _measure() -> list[Row]:
    roomy = MemorySafeBuffer[bytes](BufferConfig(max_items=10_000_000, max_bytes=2**40), size_of=len)
    default = MemorySafeBuffer[bytes]()
    evicting_one = MemorySafeBuffer[bytes](BufferConfig(overflow=OverflowPolicy.EVICT_OLDEST))
    send, receive = anyio.create_memory_object_stream[bytes](10_000_000)
    try:
        return [
            measure("append, with room, size_of=len", lambda: roomy.append(_ITEM), budget_p50_us=1.0, budget_p99_us=10),
            measure(
                "append, evicting the oldest half of 1000",
                lambda: default.append(_ITEM),
                budget_p50_us=1.0,
                budget_p99_us=10,
            ),
            measure(
                "append, evicting the oldest of 1000",
                lambda: evicting_one.append(_ITEM),
                budget_p50_us=1.0,
                budget_p99_us=10,
            ),
            measure("anyio memory object stream, send_nowait", lambda: send.send_nowait(_ITEM)),
        ]
    finally:
        send.close()
        receive.close()


def main() -> bool:
    """Print the table and return whether every budget is kept."""
    return report("Bounded send", anyio.run(_measure))


if __name__ == "__main__":
    sys.exit(not main())
