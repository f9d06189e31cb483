from __future__ import annotations

import pytest

from holdfast.domain.channel import Channel, ChannelTable
from holdfast.ports.authentication import Disbelief
from holdfast.ports.errors import AuthenticationError
from tests.fakes.identity import ALICE


def channel(session: str = "s") -> Channel:
    return Channel(session=session, peer=ALICE.did, binding=b"")


def table_of(count: int, *, max_sessions: int = 3) -> ChannelTable:
    table = ChannelTable(max_sessions=max_sessions, session_s=60.0)
    for number in range(count):
        table.begin(channel(f"{number}"), now_s=float(number))
    return table


def test_receive_in_order_is_taken() -> None:
    side = channel()
    for seq in range(3):
        side.receive(seq)

    assert side.received == 3


@pytest.mark.parametrize("seq", [None, 0, 1, 3, 4, -1])
def test_receive_anything_but_the_next_is_refused_and_changes_nothing(seq: int | None) -> None:
    side = channel()
    side.receive(0)
    side.receive(1)

    with pytest.raises(AuthenticationError) as caught:
        side.receive(seq)

    assert (caught.value.reason, side.received) == (Disbelief.FRESHNESS, 2)


def test_send_numbers_go_up_from_zero_beside_those_that_come() -> None:
    side = channel()
    side.receive(0)

    assert [side.send(), side.send()] == [0, 1]


def test_find_a_session_until_it_ends() -> None:
    table = table_of(2)

    assert table.find("1", now_s=60.9).session == "1"
    assert table.live(60.9) == 1
    with pytest.raises(AuthenticationError) as caught:
        table.find("0", now_s=60.9)
    assert caught.value.reason is Disbelief.ADDRESS


def test_require_room_for_a_name_that_is_there_is_refused() -> None:
    with pytest.raises(AuthenticationError) as caught:
        table_of(2).require_room("1", now_s=2.0)

    assert caught.value.reason is Disbelief.FRESHNESS


def test_require_room_when_full_is_refused_until_one_has_ended() -> None:
    table = table_of(3)

    with pytest.raises(AuthenticationError) as caught:
        table.require_room("another", now_s=59.9)
    assert caught.value.reason is Disbelief.CAPACITY
    table.require_room("another", now_s=60.0)
    assert table.live(60.0) == 2
