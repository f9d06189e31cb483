"""Every message that came to be authenticated is counted once, however its check ends."""

from __future__ import annotations

import pytest

from holdfast.domain.authentication_tally import AuthenticationTally, Step
from holdfast.ports.authentication import Disbelief
from holdfast.ports.errors import AuthenticationError
from holdfast.ports.events import EnvelopeRefused, HandshakeRefused
from holdfast.ports.statistics import AuthenticationStatistics
from tests.fakes.events import Listener


def _counted(tally: AuthenticationTally) -> AuthenticationStatistics:
    return tally.statistics(sessions=0, remembered=0)


def _refuse(tally: AuthenticationTally, step: Step, reason: Disbelief) -> AuthenticationError:
    error = AuthenticationError(reason)
    with pytest.raises(AuthenticationError) as caught, tally.check(step):
        raise error
    assert caught.value is error
    return error


@pytest.mark.parametrize(
    ("step", "expected"), [(Step.HELLO, (1, 0, 0)), (Step.PROOF, (0, 1, 0)), (Step.ENVELOPE, (0, 0, 1))]
)
def test_check_that_ends_well_counts_for_its_step(step: Step, expected: tuple[int, int, int]) -> None:
    tally = AuthenticationTally()

    with tally.check(step):
        during = _counted(tally)

    after = _counted(tally)
    assert (during.received, during.in_check, during.challenged, during.begun, during.taken) == (1, 1, 0, 0, 0)
    assert (after.received, after.in_check) == (1, 0)
    assert (after.challenged, after.begun, after.taken) == expected
    assert after.failed == sum(after.refused.values()) == 0


def test_check_that_refuses_counts_for_its_reason() -> None:
    tally = AuthenticationTally()
    _refuse(tally, Step.HELLO, Disbelief.TRUST)
    _refuse(tally, Step.ENVELOPE, Disbelief.TRUST)
    _refuse(tally, Step.PROOF, Disbelief.SIGNATURE)

    counted = _counted(tally)

    assert (counted.received, counted.in_check, counted.failed) == (3, 0, 0)
    assert (counted.challenged, counted.begun, counted.taken) == (0, 0, 0)
    assert counted.refused == dict.fromkeys(Disbelief, 0) | {Disbelief.TRUST: 2, Disbelief.SIGNATURE: 1}


@pytest.mark.parametrize("end", [OSError("no trust list"), KeyboardInterrupt()])
def test_check_that_decides_nothing_counts_as_failed_and_tells_nobody(end: BaseException) -> None:
    listener = Listener()
    tally = AuthenticationTally(events=listener)

    with pytest.raises(type(end)) as caught, tally.check(Step.HELLO):
        raise end

    counted = _counted(tally)
    assert caught.value is end
    assert (counted.received, counted.in_check, counted.failed) == (1, 0, 1)
    assert (counted.challenged, sum(counted.refused.values())) == (0, 0)
    assert listener.heard == []


def test_refusal_is_told_by_what_the_message_was_for_once_it_is_counted() -> None:
    listener = Listener()
    tally = AuthenticationTally(events=listener)
    counted: list[int] = []
    listener.then = lambda: counted.append(sum(_counted(tally).refused.values()))

    _refuse(tally, Step.HELLO, Disbelief.SIZE)
    _refuse(tally, Step.PROOF, Disbelief.CAPACITY)
    _refuse(tally, Step.ENVELOPE, Disbelief.ADDRESS)

    assert listener.heard == [
        HandshakeRefused(reason=Disbelief.SIZE),
        HandshakeRefused(reason=Disbelief.CAPACITY),
        EnvelopeRefused(reason=Disbelief.ADDRESS),
    ]
    assert counted == [1, 2, 3]


def test_statistics_hold_what_is_kept_as_it_is_said() -> None:
    counted = AuthenticationTally().statistics(sessions=2, remembered=3)

    assert (counted.sessions, counted.remembered) == (2, 3)
