from __future__ import annotations

import pytest

from holdfast.domain.memory_ceiling import MemoryCeiling, charge_bytes
from holdfast.ports.errors import ConfigurationError, MemoryCeilingError
from holdfast.ports.events import Event, MemoryFreed, MemoryRefused
from holdfast.ports.statistics import MemoryStatistics
from holdfast.testing import ManualClock


class SteppingClock(ManualClock):
    """One that can be set back, as no monotonic clock should be."""

    def step_back(self, seconds: float) -> None:
        self._now_s -= seconds


class Keeper:
    """Keeps chunks of ten bytes, and drops them when told to."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.asked: list[int] = []

    def free(self, size_bytes: int) -> int:
        self.asked.append(size_bytes)
        freed_bytes = min(self.size_bytes, -(-size_bytes // 10) * 10)
        self.size_bytes -= freed_bytes
        return freed_bytes


class Desk:
    """A ceiling of 100 bytes that tells what it decides."""

    def __init__(self) -> None:
        self.clock = SteppingClock()
        self.told: list[Event] = []
        self.ceiling = MemoryCeiling(100, clock=self.clock, events=self)

    def emit(self, event: Event) -> None:
        self.told.append(event)

    def keep(self, name: str, size_bytes: int, *, freeable: bool = True) -> Keeper:
        keeper = Keeper(size_bytes)
        self.ceiling.add_holder(name, lambda: keeper.size_bytes, free=keeper.free if freeable else None)
        return keeper

    def refused(self, size_bytes: int) -> MemoryCeilingError:
        with pytest.raises(MemoryCeilingError) as raised:
            self.ceiling.hold(size_bytes)
        return raised.value

    @property
    def statistics(self) -> MemoryStatistics:
        return self.ceiling.statistics()


def test_charge_is_a_constant_and_the_texts_as_they_came_and_as_they_are_sent() -> None:
    assert (charge_bytes(0), charge_bytes(1000) - charge_bytes(0)) == (24 * 1024, 2000)


@pytest.mark.parametrize("max_bytes", [0, -1])
def test_ceiling_without_room_for_a_byte_is_refused(max_bytes: int) -> None:
    with pytest.raises(ConfigurationError, match=r"max_memory_bytes: must be .* at least 1"):
        MemoryCeiling(max_bytes, clock=ManualClock())


def test_holder_of_a_name_that_is_taken_is_refused() -> None:
    desk = Desk()
    desk.keep("answers", 1)
    with pytest.raises(ConfigurationError, match="'answers' holds already"):
        desk.keep("answers", 1)


def test_statistics_say_who_holds_how_much() -> None:
    desk = Desk()
    desk.keep("answers", 20)
    desk.keep("sessions", 5, freeable=False)
    desk.ceiling.hold(30)
    desk.ceiling.hold(10).release()
    desk.refused(90)

    assert desk.statistics == MemoryStatistics(
        max_bytes=100,
        used_bytes=55,
        held_bytes=30,
        kept_bytes={"answers": 20, "sessions": 5},
        holding=1,
        granted=2,
        released=1,
        refused=1,
        freed_bytes=0,
    )


def test_hold_of_exactly_what_is_left_is_granted() -> None:
    desk = Desk()
    desk.ceiling.hold(60)
    desk.ceiling.hold(40)

    assert desk.statistics.used_bytes == 100


def test_hold_of_more_than_is_left_is_refused_with_its_numbers() -> None:
    desk = Desk()
    desk.ceiling.hold(60)
    error = desk.refused(41)

    assert (error.needed_bytes, error.used_bytes, error.max_bytes) == (41, 60, 100)
    assert desk.statistics.held_bytes == 60
    assert desk.told == [MemoryRefused(needed_bytes=41, used_bytes=60, max_bytes=100)]


def test_hold_that_is_released_twice_gives_its_bytes_back_once() -> None:
    desk = Desk()
    hold = desk.ceiling.hold(60)
    desk.ceiling.hold(10)
    hold.release()
    hold.release()

    assert (desk.statistics.held_bytes, desk.statistics.released) == (10, 1)


def test_hold_in_a_with_block_is_released_also_when_that_fails() -> None:
    desk = Desk()
    with pytest.raises(RuntimeError), desk.ceiling.hold(60):
        raise RuntimeError

    assert desk.statistics.held_bytes == 0


def test_hold_that_grows_holds_so_much_more_and_gives_all_of_it_back() -> None:
    desk = Desk()
    with desk.ceiling.hold(60) as hold:
        hold.grow(30)
        assert desk.statistics.held_bytes == 90

    assert (desk.statistics.held_bytes, desk.statistics.granted) == (0, 1)


def test_hold_that_cannot_grow_still_holds_what_it_held() -> None:
    desk = Desk()
    other = desk.ceiling.hold(30)
    hold = desk.ceiling.hold(60)
    with pytest.raises(MemoryCeilingError) as raised:
        hold.grow(40)

    assert raised.value.retry_after_s == 1.0
    other.release()
    assert desk.statistics.held_bytes == 60


def test_hold_that_was_released_does_not_grow() -> None:
    desk = Desk()
    hold = desk.ceiling.hold(60)
    hold.release()
    hold.grow(40)

    assert desk.statistics.used_bytes == 0


def test_hold_that_does_not_fit_beside_kept_answers_has_just_enough_of_them_dropped() -> None:
    desk = Desk()
    keeper = desk.keep("answers", 60)
    desk.ceiling.hold(65)

    assert (keeper.asked, keeper.size_bytes) == ([25], 30)
    assert (desk.statistics.used_bytes, desk.statistics.freed_bytes) == (95, 30)
    assert desk.told == [MemoryFreed(holder="answers", freed_bytes=30)]


def test_hold_has_what_was_added_first_dropped_first_and_nothing_that_nobody_may_drop() -> None:
    desk = Desk()
    first, fixed, second = desk.keep("a", 20), desk.keep("b", 20, freeable=False), desk.keep("c", 30)
    desk.ceiling.hold(70)

    assert (first.size_bytes, fixed.size_bytes, second.size_bytes) == (0, 20, 10)
    assert desk.told == [MemoryFreed(holder="a", freed_bytes=20), MemoryFreed(holder="c", freed_bytes=20)]


def test_hold_that_fits_after_the_first_keeper_has_given_way_asks_no_other() -> None:
    desk = Desk()
    desk.keep("a", 30)
    second = desk.keep("b", 30)
    desk.ceiling.hold(70)

    assert second.asked == []


def test_keeper_that_has_nothing_is_not_told_of() -> None:
    desk = Desk()
    desk.keep("a", 0)
    desk.keep("b", 50)
    desk.ceiling.hold(60)

    assert desk.told == [MemoryFreed(holder="b", freed_bytes=10)]


def test_hold_that_would_not_fit_without_any_kept_answer_drops_none() -> None:
    desk = Desk()
    desk.ceiling.hold(50)
    keeper = desk.keep("answers", 20)
    desk.refused(60)

    assert (keeper.asked, keeper.size_bytes) == ([], 20)


def test_hold_that_does_not_fit_although_a_keeper_said_so_is_refused() -> None:
    desk = Desk()
    desk.ceiling.add_holder("liar", lambda: 50, free=lambda _: 0)
    desk.refused(60)

    assert desk.statistics.used_bytes == 50


def test_refusal_before_anything_was_measured_names_the_default() -> None:
    desk = Desk()
    desk.ceiling.hold(60)

    assert desk.refused(50).retry_after_s == 1.0


def test_refusal_names_how_long_so_much_takes_to_come_back() -> None:
    desk = Desk()
    first = desk.ceiling.hold(1)
    desk.clock.advance(8.0)
    first.release()
    desk.ceiling.hold(80)

    assert (desk.refused(40).retry_after_s, desk.refused(100).retry_after_s) == (2.0, 8.0)


def test_refusal_while_no_request_holds_anything_names_the_default() -> None:
    desk = Desk()
    first = desk.ceiling.hold(1)
    desk.clock.advance(8.0)
    first.release()
    desk.keep("sessions", 90, freeable=False)

    assert desk.refused(20).retry_after_s == 1.0


def test_refusal_of_what_never_fits_names_no_time() -> None:
    desk = Desk()
    hold = desk.ceiling.hold(60)
    with pytest.raises(MemoryCeilingError) as raised:
        hold.grow(41)

    assert (desk.refused(101).retry_after_s, raised.value.retry_after_s) == (None, None)


def test_clock_that_steps_back_by_an_hour_makes_no_time_negative() -> None:
    desk = Desk()
    for _ in range(2):
        hold = desk.ceiling.hold(60)
        desk.clock.step_back(3600.0)
        hold.release()
    desk.ceiling.hold(60)

    assert desk.refused(50).retry_after_s == 1.0


def test_ceiling_without_anybody_to_tell_decides_the_same() -> None:
    ceiling = MemoryCeiling(100, clock=ManualClock())
    keeper = Keeper(60)
    ceiling.add_holder("answers", lambda: keeper.size_bytes, free=keeper.free)
    ceiling.hold(90)
    with pytest.raises(MemoryCeilingError):
        ceiling.hold(20)

    assert (keeper.size_bytes, ceiling.statistics().refused) == (10, 1)
