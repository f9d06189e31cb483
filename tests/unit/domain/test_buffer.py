from __future__ import annotations

import gc
import subprocess
import sys
import warnings
import weakref

import pytest

from holdfast.domain.buffer import BufferConfig, MemorySafeBuffer, OverflowPolicy, text_size_bytes
from holdfast.ports.errors import BufferFullError, ConfigurationError
from holdfast.ports.statistics import BufferStatistics

EVICTING = [OverflowPolicy.EVICT_OLDEST_HALF, OverflowPolicy.EVICT_OLDEST]


def sized(
    *items: int,
    max_items: int = 1000,
    max_bytes: int = 1000,
    overflow: OverflowPolicy = OverflowPolicy.REFUSE,
) -> MemorySafeBuffer[int]:
    """Return a buffer of numbers, each of which takes as many bytes as it says."""
    buffer = MemorySafeBuffer[int](
        BufferConfig(max_items=max_items, max_bytes=max_bytes, overflow=overflow), size_of=lambda item: item
    )
    for item in items:
        buffer.append(item)
    return buffer


def test_config_by_default_holds_a_thousand_items_in_ten_mebibytes_and_evicts_half() -> None:
    config = BufferConfig()

    assert (config.max_items, config.max_bytes) == (1000, 10_485_760)
    assert (config.overflow, config.warn_undrained) == (OverflowPolicy.EVICT_OLDEST_HALF, False)


@pytest.mark.parametrize(
    ("config", "path"),
    [({"max_items": 0}, "buffer.max_items"), ({"max_bytes": 0}, "buffer.max_bytes"), ({"max_items": -1}, "buffer")],
)
def test_config_with_a_bound_below_one_is_refused(config: dict[str, int], path: str) -> None:
    with pytest.raises(ConfigurationError, match=path):
        BufferConfig(**config)  # type: ignore[arg-type] # numbers for the two numeric fields only


def test_config_with_bounds_of_one_holds_one_item_of_one_byte() -> None:
    buffer = sized(1, 1, max_items=1, max_bytes=1, overflow=OverflowPolicy.EVICT_OLDEST)

    assert buffer.items() == [1]


def test_append_within_both_bounds_keeps_items_in_order() -> None:
    buffer = sized(3, 1, 2)

    assert buffer.items() == [3, 1, 2]
    assert (buffer.statistics().items, buffer.statistics().size_bytes) == (3, 6)


def test_append_that_fills_the_buffer_to_both_bounds_evicts_nothing() -> None:
    buffer = sized(5, 5, max_items=2, max_bytes=10, overflow=OverflowPolicy.EVICT_OLDEST)

    assert buffer.items() == [5, 5]
    assert buffer.statistics().evicted == 0


@pytest.mark.parametrize(("held", "kept"), [(4, [3, 4, 9]), (5, [4, 5, 9]), (1, [9])])
def test_append_at_the_bound_on_items_evicts_the_older_half_rounded_up(held: int, kept: list[int]) -> None:
    buffer = sized(*range(1, held + 1), max_items=held, overflow=OverflowPolicy.EVICT_OLDEST_HALF)
    buffer.append(9)

    assert buffer.items() == kept


def test_append_at_the_bound_on_bytes_evicts_halves_until_it_fits() -> None:
    buffer = sized(1, 1, 1, 1, 1, 10, max_bytes=15, overflow=OverflowPolicy.EVICT_OLDEST_HALF)
    buffer.append(14)

    assert buffer.items() == [14]
    assert buffer.statistics().evicted == 6


def test_append_at_the_bound_on_items_evicts_only_the_oldest() -> None:
    buffer = sized(1, 2, 3, max_items=3, overflow=OverflowPolicy.EVICT_OLDEST)
    buffer.append(9)

    assert buffer.items() == [2, 3, 9]


def test_append_at_the_bound_on_bytes_evicts_no_more_of_the_oldest_than_it_takes() -> None:
    buffer = sized(2, 3, 5, max_bytes=10, overflow=OverflowPolicy.EVICT_OLDEST)
    buffer.append(4)

    assert buffer.items() == [5, 4]
    assert buffer.statistics().size_bytes == 9


@pytest.mark.parametrize("bounds", [{"max_items": 2}, {"max_bytes": 5}])
def test_append_at_a_bound_with_the_refuse_policy_raises_and_keeps_what_is_there(bounds: dict[str, int]) -> None:
    buffer = sized(2, 3, **bounds)  # type: ignore[arg-type] # numbers for the two numeric arguments only
    with pytest.raises(BufferFullError, match="2 items, 5 bytes") as raised:
        buffer.append(1)

    assert (raised.value.items, raised.value.size_bytes, raised.value.item_bytes) == (2, 5, 1)
    assert buffer.items() == [2, 3]
    assert buffer.statistics().refused == 1


@pytest.mark.parametrize("overflow", OverflowPolicy)
def test_append_of_an_item_larger_than_the_buffer_is_refused_under_every_policy(overflow: OverflowPolicy) -> None:
    buffer = sized(2, 3, max_bytes=10, overflow=overflow)
    with pytest.raises(BufferFullError, match="11 bytes does not fit into a buffer of 10") as raised:
        buffer.append(11)

    assert raised.value.max_bytes == 10
    assert buffer.items() == [2, 3]
    assert buffer.statistics() == BufferStatistics(
        items=2, size_bytes=5, appended=2, evicted=0, refused=1, taken=0, cleared=0, restored=0, rolled_back=0
    )


@pytest.mark.parametrize("overflow", EVICTING)
def test_append_of_an_item_as_large_as_the_buffer_replaces_everything(overflow: OverflowPolicy) -> None:
    buffer = sized(1, 2, 3, max_bytes=10, overflow=overflow)
    buffer.append(10)

    assert buffer.items() == [10]


def test_append_of_items_without_size_is_bounded_by_their_number() -> None:
    buffer = sized(0, 0, 0, max_items=2, overflow=OverflowPolicy.EVICT_OLDEST)

    assert buffer.items() == [0, 0]


def test_append_whose_measuring_fails_changes_nothing() -> None:
    def size_of(item: str) -> int:
        return int(item)

    buffer = MemorySafeBuffer[str](size_of=size_of)
    buffer.append("1")
    with pytest.raises(ValueError, match="invalid literal"):
        buffer.append("no number")

    assert buffer.statistics() == BufferStatistics(
        items=1, size_bytes=1, appended=1, evicted=0, refused=0, taken=0, cleared=0, restored=0, rolled_back=0
    )


def test_size_of_an_item_is_asked_once_in_all_its_life() -> None:
    measured: list[int] = []

    def size_of(item: int) -> int:
        measured.append(item)
        return item

    buffer = MemorySafeBuffer[int](BufferConfig(max_items=2, overflow=OverflowPolicy.EVICT_OLDEST), size_of=size_of)
    for item in (1, 2, 3):
        buffer.append(item)
    snapshot = buffer.snapshot()
    buffer.drain()
    buffer.restore(snapshot)
    buffer.clear()

    assert measured == [1, 2, 3]


def test_items_up_to_a_limit_are_the_oldest_and_stay() -> None:
    buffer = sized(1, 2, 3)

    assert buffer.items(2) == [1, 2]
    assert buffer.items(0) == []
    assert buffer.items(9) == [1, 2, 3]
    assert buffer.statistics().taken == 0


def test_items_changed_by_the_caller_leave_the_buffer_as_it_is() -> None:
    buffer = sized(1, 2)
    buffer.items().clear()

    assert buffer.items() == [1, 2]


def test_drain_takes_everything_out_and_makes_room() -> None:
    buffer = sized(4, 6, max_items=2, max_bytes=10)

    assert buffer.drain() == [4, 6]
    assert buffer.drain() == []
    buffer.append(10)
    assert buffer.items() == [10]
    assert buffer.statistics() == BufferStatistics(
        items=1, size_bytes=10, appended=3, evicted=0, refused=0, taken=2, cleared=0, restored=0, rolled_back=0
    )


def test_clear_drops_everything_and_returns_the_bytes_freed() -> None:
    buffer = sized(4, 6, max_bytes=10)

    assert (buffer.clear(), buffer.clear()) == (10, 0)
    assert buffer.statistics() == BufferStatistics(
        items=0, size_bytes=0, appended=2, evicted=0, refused=0, taken=0, cleared=2, restored=0, rolled_back=0
    )


def test_restore_rolls_contents_and_memory_accounting_back() -> None:
    buffer = sized(4, 6, max_bytes=20)
    snapshot = buffer.snapshot()
    buffer.append(7)
    buffer.restore(snapshot)

    assert buffer.items() == [4, 6]
    assert buffer.statistics() == BufferStatistics(
        items=2, size_bytes=10, appended=3, evicted=0, refused=0, taken=0, cleared=0, restored=2, rolled_back=3
    )


def test_append_after_a_restore_evicts_by_the_sizes_that_were_restored() -> None:
    buffer = sized(4, 6, max_items=2, max_bytes=10, overflow=OverflowPolicy.EVICT_OLDEST)
    snapshot = buffer.snapshot()
    buffer.drain()
    buffer.append(1)
    buffer.restore(snapshot)
    buffer.append(3)

    assert buffer.items() == [6, 3]
    assert buffer.statistics().size_bytes == 9


def test_restore_after_a_drain_brings_back_what_was_taken_as_often_as_wanted() -> None:
    buffer = sized(4, 6)
    snapshot = buffer.snapshot()
    seen = []
    for _ in range(2):
        buffer.restore(snapshot)
        seen.append(buffer.drain())

    assert seen == [[4, 6], [4, 6]]


def test_snapshot_is_not_changed_by_what_happens_to_the_buffer() -> None:
    buffer = sized(4, 6)
    snapshot = buffer.snapshot()
    buffer.append(7)
    buffer.clear()

    assert (snapshot.items, snapshot.sizes_bytes) == ((4, 6), (4, 6))


@pytest.mark.parametrize("bounds", [{"max_items": 1}, {"max_bytes": 9}])
def test_restore_of_a_snapshot_that_exceeds_a_bound_is_refused_and_changes_nothing(bounds: dict[str, int]) -> None:
    buffer = sized(1, **bounds)  # type: ignore[arg-type] # numbers for the two numeric arguments only
    with pytest.raises(ConfigurationError, match="2 items of 10 bytes do not fit"):
        buffer.restore(sized(4, 6).snapshot())

    assert buffer.items() == [1]
    assert buffer.statistics().rolled_back == 0


def test_default_size_of_text_is_at_least_the_memory_of_its_widest_character() -> None:
    buffer = MemorySafeBuffer[str]()
    buffer.append("x" * 1000 + "🙂")

    assert 4004 <= buffer.statistics().size_bytes <= 4200


def test_default_size_of_bytes_counts_their_header_too() -> None:
    buffer = MemorySafeBuffer[bytes]()
    buffer.append(b"x" * 1000)

    assert 1000 < buffer.statistics().size_bytes <= 1100


@pytest.mark.parametrize("item", [["a list"], {"a": "dict"}, bytearray(b"may grow"), 1])
def test_default_size_of_anything_else_is_refused_with_the_remedy(item: object) -> None:
    with pytest.raises(ConfigurationError, match=r"buffer\.size_of: .* pass a size_of"):
        text_size_bytes(item)


def test_evicted_item_is_not_kept_alive() -> None:
    class Item:
        pass

    buffer = MemorySafeBuffer[Item](
        BufferConfig(max_items=1, overflow=OverflowPolicy.EVICT_OLDEST), size_of=lambda _: 1
    )
    first = Item()
    watched = weakref.ref(first)
    buffer.append(first)
    del first
    buffer.append(Item())
    gc.collect()

    assert watched() is None


def test_dropped_undrained_when_asked_to_warn_emits_a_resource_warning() -> None:
    buffer = MemorySafeBuffer[str](BufferConfig(warn_undrained=True))
    buffer.append("lost")
    buffer.append("too")
    with pytest.warns(ResourceWarning, match="dropped undrained, items lost: 2") as caught:
        del buffer

    assert caught[0].filename == __file__


@pytest.mark.parametrize("emptied_by", [MemorySafeBuffer[str].drain, MemorySafeBuffer[str].clear])
def test_dropped_empty_when_asked_to_warn_is_silent(emptied_by: object) -> None:
    buffer = MemorySafeBuffer[str](BufferConfig(warn_undrained=True))
    buffer.append("seen")
    assert callable(emptied_by)
    emptied_by(buffer)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del buffer
        gc.collect()

    assert caught == []


def test_dropped_undrained_when_not_asked_to_warn_is_silent() -> None:
    buffer = MemorySafeBuffer[str]()
    buffer.append("lost")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del buffer
        gc.collect()

    assert caught == []


def test_undrained_at_the_end_of_the_process_warns_too() -> None:
    code = """
from holdfast.domain.buffer import BufferConfig, MemorySafeBuffer
buffer = MemorySafeBuffer(BufferConfig(warn_undrained=True))
buffer.append("lost")
"""
    run = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert "ResourceWarning: a buffer was dropped undrained, items lost: 1" in run.stderr
