from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from holdfast.domain.buffer import BufferConfig, BufferSnapshot, MemorySafeBuffer, OverflowPolicy
from holdfast.ports.errors import BufferFullError


class BufferMachine(RuleBasedStateMachine):
    """The buffer does what a plain list with the same bounds does."""

    snapshots: Bundle[tuple[BufferSnapshot[int], list[int]]] = Bundle("snapshots")

    @initialize(max_items=st.integers(1, 6), max_bytes=st.integers(1, 20), overflow=st.sampled_from(OverflowPolicy))
    def begin(self, max_items: int, max_bytes: int, overflow: OverflowPolicy) -> None:
        self.max_items = max_items
        self.max_bytes = max_bytes
        self.overflow = overflow
        self.buffer = MemorySafeBuffer[int](
            BufferConfig(max_items=max_items, max_bytes=max_bytes, overflow=overflow), size_of=lambda item: item
        )
        self.model: list[int] = []
        self.refused = 0
        self.appended = 0

    def fits(self, items: list[int]) -> bool:
        return len(items) <= self.max_items and sum(items) <= self.max_bytes

    @rule(item=st.integers(0, 25))
    def append(self, item: int) -> None:
        try:
            self.buffer.append(item)
        except BufferFullError:
            self.refused += 1
            assert item > self.max_bytes or self.overflow is OverflowPolicy.REFUSE
            assert not self.fits([*self.model, item])
            return
        self.appended += 1
        while not self.fits([*self.model, item]):
            assert self.overflow is not OverflowPolicy.REFUSE
            dropped = -(-len(self.model) // 2) if self.overflow is OverflowPolicy.EVICT_OLDEST_HALF else 1
            self.model = self.model[dropped:]
        self.model.append(item)

    @rule()
    def drain(self) -> None:
        assert self.buffer.drain() == self.model
        self.model = []

    @rule()
    def clear(self) -> None:
        assert self.buffer.clear() == sum(self.model)
        self.model = []

    @rule(target=snapshots)
    def snapshot(self) -> tuple[BufferSnapshot[int], list[int]]:
        return self.buffer.snapshot(), list(self.model)

    @rule(taken=snapshots)
    def restore(self, taken: tuple[BufferSnapshot[int], list[int]]) -> None:
        snapshot, model = taken
        self.buffer.restore(snapshot)
        self.model = list(model)

    @rule(limit=st.integers(0, 8))
    def look(self, limit: int) -> None:
        assert self.buffer.items(limit) == self.model[:limit]

    @invariant()
    def holds_what_the_model_holds_within_both_bounds(self) -> None:
        statistics = self.buffer.statistics()
        assert self.buffer.items() == self.model
        assert (statistics.items, statistics.size_bytes) == (len(self.model), sum(self.model))
        assert self.fits(self.model)

    @invariant()
    def counters_add_up(self) -> None:
        counted = self.buffer.statistics()
        assert (counted.appended, counted.refused) == (self.appended, self.refused)
        assert counted.appended + counted.restored == (
            counted.items + counted.evicted + counted.taken + counted.cleared + counted.rolled_back
        )


TestBuffer = BufferMachine.TestCase
TestBuffer.settings = settings(max_examples=80, stateful_step_count=40)
