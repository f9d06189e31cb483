from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from holdfast.domain.authentication_config import AuthenticationConfig
from holdfast.domain.channel import Channel, ChannelTable
from holdfast.domain.envelope import Direction
from holdfast.domain.envelope_gate import EnvelopeGate
from holdfast.ports.authentication import Disbelief
from holdfast.ports.errors import AuthenticationError
from tests.fakes.identity import ALICE, CONFIG, MALLORY, SERVICE, Wall, envelope

SESSION = "5" * 64


class Gate:
    """A gate that has been open for a minute, with one session of Alice's."""

    def __init__(self, config: AuthenticationConfig = CONFIG, *, wall: Wall | None = None) -> None:
        self.wall = wall or Wall()
        self.channels = ChannelTable(max_sessions=9, session_s=3600.0)
        self.gate = EnvelopeGate(
            config, me=SERVICE.did, channels=self.channels, clock=self.wall.clock, unix_s=self.wall.unix_s
        )
        self.channel = Channel(session=SESSION, peer=ALICE.did, binding=b"tls")
        self.wall.advance(60.0)
        self.channels.begin(self.channel, now_s=self.wall.clock.monotonic_s())

    def take(self, *, binding: bytes = b"tls", **changes: object) -> Channel | None:
        return self.gate.take(envelope(self.wall, **changes), binding=binding)


def refusal(attempt: Callable[[], object]) -> Disbelief:
    with pytest.raises(AuthenticationError) as caught:
        attempt()
    return caught.value.reason


def test_take_outside_a_session_is_taken_once() -> None:
    gate = Gate()

    assert gate.take() is None
    assert refusal(gate.take) is Disbelief.FRESHNESS
    assert gate.take(id="q-2") is None
    assert gate.gate.remembered == 2


def test_take_of_two_senders_with_one_id_are_two_messages() -> None:
    gate = Gate()
    gate.take()

    assert gate.take(sender=MALLORY.did) is None


@pytest.mark.parametrize("session", [None, SESSION])
@pytest.mark.parametrize(
    "changes",
    [
        {"to": MALLORY.did},
        {"to": ALICE.did},
        {"direction": Direction.TO_INITIATOR},
        {"sender": SERVICE.did},
    ],
    ids=["wrong audience", "back to its sender", "reflection of an answer", "of our own"],
)
def test_take_what_is_not_for_this_side_is_refused_and_changes_nothing(
    session: str | None, changes: dict[str, Any]
) -> None:
    gate = Gate()

    assert refusal(lambda: gate.take(session=session, seq=None if session is None else 0, **changes)) is (
        Disbelief.ADDRESS
    )
    assert (gate.gate.remembered, gate.channel.received) == (0, 0)


@pytest.mark.parametrize("session", [None, SESSION])
@pytest.mark.parametrize(
    ("issued_s", "expires_s", "good"),
    [
        (0.0, 30.0, True),
        (5.0, 35.0, True),
        (5.1, 35.1, False),
        (-34.9, -4.9, True),
        (-35.0, -5.0, False),
        (-6.0, -5.0, False),
        (0.0, 30.1, False),
        (0.0, 0.0, False),
        (3.0, 2.0, False),
        (3600.0, 3630.0, False),
        (-3600.0, 3600.0, False),
    ],
)
def test_take_fresh_means_from_now_up_to_the_skew(
    session: str | None, issued_s: float, expires_s: float, good: bool
) -> None:
    gate = Gate()
    now_ms = int(gate.wall.unix_s() * 1000)
    issued_ms, expires_ms = now_ms + int(issued_s * 1000), now_ms + int(expires_s * 1000)

    def attempt() -> object:
        seq = None if session is None else 0
        return gate.take(session=session, seq=seq, issued_ms=issued_ms, expires_ms=expires_ms)

    if good:
        attempt()
    else:
        assert refusal(attempt) is Disbelief.FRESHNESS
    assert gate.channel.received + gate.gate.remembered == int(good)


def test_take_in_a_session_is_in_order_each_once() -> None:
    gate = Gate()

    assert [gate.take(session=SESSION, seq=seq) for seq in range(3)] == [gate.channel] * 3
    for seq in (0, 2, 4, None):
        assert refusal(lambda seq=seq: gate.take(session=SESSION, seq=seq)) is Disbelief.FRESHNESS  # type: ignore[misc] # bound at once
    assert gate.channel.received == 3
    assert gate.gate.remembered == 0


@pytest.mark.parametrize(
    ("binding", "changes"),
    [
        (b"tls", {"session": "6" * 64}),
        (b"tls", {"sender": MALLORY.did}),
        (b"other", {}),
        (b"", {}),
    ],
    ids=["no session", "of another", "on another channel", "on no channel"],
)
def test_take_in_a_session_that_is_not_its_senders_is_refused(binding: bytes, changes: dict[str, Any]) -> None:
    gate = Gate()

    assert refusal(lambda: gate.take(binding=binding, **{"session": SESSION, "seq": 0, **changes})) is (
        Disbelief.ADDRESS
    )
    assert gate.channel.received == 0


def test_take_in_a_session_that_has_ended_is_refused() -> None:
    gate = Gate()
    gate.wall.advance(3600.0)

    assert refusal(lambda: gate.take(session=SESSION, seq=0)) is Disbelief.ADDRESS


def test_take_number_outside_a_session_is_refused() -> None:
    assert refusal(lambda: Gate().take(seq=0)) is Disbelief.SYNTAX


def test_take_again_after_a_restart_is_refused_also_from_a_fast_clock() -> None:
    gate = Gate()
    fast_ms = int(gate.wall.unix_s() * 1000) + 5_000
    fast: dict[str, Any] = {"issued_ms": fast_ms, "expires_ms": fast_ms + 30_000}
    gate.take(**fast)
    gate.wall.advance(0.001)
    restarted = EnvelopeGate(
        CONFIG,
        me=SERVICE.did,
        channels=ChannelTable(max_sessions=9, session_s=3600.0),
        clock=gate.wall.clock,
        unix_s=gate.wall.unix_s,
    )

    for _ in range(40):
        gate.wall.advance(1.0)
        assert refusal(lambda: restarted.take(envelope(gate.wall, **fast), binding=b"")) is Disbelief.FRESHNESS
    assert restarted.take(envelope(gate.wall), binding=b"") is None


def test_take_again_when_the_clock_steps_back_by_an_hour_is_refused() -> None:
    gate = Gate()
    old = envelope(gate.wall)
    gate.take()
    gate.wall.advance(3600.0)
    gate.take(id="q-2")
    gate.wall.set_by(-3600.0)

    assert refusal(lambda: gate.gate.take(old, binding=b"")) is Disbelief.FRESHNESS


def test_take_a_late_message_while_another_as_old_as_it_can_still_be_taken_is_taken() -> None:
    gate = Gate()
    late = envelope(gate.wall, id="late")
    gate.take()
    gate.wall.advance(34.0)

    assert gate.gate.take(late, binding=b"") is None


def test_take_more_than_can_be_remembered_is_refused_until_some_have_expired() -> None:
    gate = Gate(replace(CONFIG, max_remembered=2))
    gate.take(id="a")
    gate.take(id="b")

    assert refusal(lambda: gate.take(id="c")) is Disbelief.CAPACITY
    assert refusal(lambda: gate.take(id="a")) is Disbelief.FRESHNESS
    gate.wall.advance(35.0)
    gate.take(id="c")
    assert gate.gate.remembered == 1
