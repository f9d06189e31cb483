"""The rule of shared answers against a model: any order of claims, extensions, outcomes, releases and pauses."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.ports.answer_record import AnswerRecord, as_us, claimed, extended, released, settled
from holdfast.ports.answer_store import AnswerClaim, Busy, Told, Won

BEGAN_US = 1_000_000_000

claimants = st.sampled_from("abcd")
seconds = st.sampled_from((0.001, 0.5, 1.0, 3.0))


@dataclass
class Leader:
    token: int
    claimant: str
    until_us: int


@dataclass(frozen=True)
class Outcome:
    token: int
    content: bytes
    kept_until_us: int
    told_until_us: int


class AnswerRecordMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now_us = BEGAN_US
        self.record: AnswerRecord | None = None
        self.leader: Leader | None = None
        self.outcome: Outcome | None = None
        self.tokens: list[int] = []
        self.waiting: dict[str, int] = {}
        """Who waits, for whose claim."""

    def leads(self) -> Leader | None:
        return self.leader if self.leader is not None and self.now_us < self.leader.until_us else None

    def due(self, awaited: int | None) -> Outcome | None:
        outcome = self.outcome
        if outcome is None:
            return None
        has_waited = awaited is not None and outcome.token >= awaited
        is_due = self.now_us < outcome.kept_until_us or (has_waited and self.now_us < outcome.told_until_us)
        return outcome if is_due else None

    @rule(claimant=claimants, lease_s=seconds)
    def ask(self, claimant: str, lease_s: float) -> None:
        awaited = self.waiting.get(claimant)
        leader, due = self.leads(), self.due(awaited)
        claim = AnswerClaim(key=b"k", claimant=claimant, lease_s=lease_s, awaited=awaited)

        self.record, heard = claimed(self.record, claim, self.now_us)

        match heard:
            case Told():
                assert due is not None
                assert heard == Told(token=due.token, outcome=due.content)
                self.waiting.pop(claimant, None)
            case Busy():
                assert due is None
                assert leader is not None
                assert leader.claimant != claimant
                assert heard.token == leader.token
                assert as_us(heard.left_s) == leader.until_us - self.now_us
                self.waiting.setdefault(claimant, heard.token)
            case Won():
                assert due is None
                assert leader is None or (leader.claimant, leader.token) == (claimant, heard.token)
                if leader is None:
                    assert all(heard.token > token for token in self.tokens)
                    self.tokens.append(heard.token)
                self.leader = Leader(heard.token, claimant, self.now_us + as_us(lease_s))
                self.waiting.pop(claimant, None)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), lease_s=seconds)
    def extend(self, data: st.DataObject, lease_s: float) -> None:
        token = data.draw(st.sampled_from(self.tokens[-4:]))
        leader = self.leads()

        record = extended(self.record, token=token, lease_s=lease_s, now_us=self.now_us)

        assert (record is not None) == (leader is not None and leader.token == token)
        if record is not None and leader is not None:
            self.record = record
            leader.until_us = self.now_us + as_us(lease_s)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), content=st.binary(max_size=3), keep_s=st.just(0.0) | seconds, tell_s=seconds)
    def settle(self, data: st.DataObject, content: bytes, keep_s: float, tell_s: float) -> None:
        token = data.draw(st.sampled_from(self.tokens[-4:]))
        leader, before = self.leads(), self.outcome
        is_told = before is not None and before.token == token
        until_us = 0 if before is None else max(before.kept_until_us, before.told_until_us)

        record = settled(self.record, token=token, outcome=content, keep_s=keep_s, tell_s=tell_s, now_us=self.now_us)

        if leader is not None and leader.token == token:
            assert record is not None
            self.leader = None
            self.outcome = Outcome(token, content, self.now_us + as_us(keep_s), self.now_us + as_us(tell_s))
        elif is_told and self.now_us < until_us:
            assert record == self.record  # it is the first one that stays
        elif not is_told:
            assert record is None
        self.record = record or self.record

    @rule(claimant=claimants)
    def release(self, claimant: str) -> None:
        leader = self.leads()

        record = released(self.record, claimant=claimant, now_us=self.now_us)

        if leader is not None and leader.claimant == claimant:
            assert record is not None
            self.leader = None
        self.record = record or self.record

    @rule(pause_s=seconds)
    def wait(self, pause_s: float) -> None:
        self.now_us += as_us(pause_s)

    @rule()
    def forget_what_has_ended(self) -> None:
        """As every store does, sooner or later."""
        if self.record is not None and self.record.has_ended(self.now_us):
            self.record = None

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def wait_until_everything_is_over(self, data: st.DataObject) -> None:
        """Whoever waits hears an outcome, or it is his turn, as soon as nobody leads."""
        claimant = data.draw(st.sampled_from(sorted(self.waiting)))
        if self.leader is not None:
            self.now_us = max(self.now_us, self.leader.until_us)
        claim = AnswerClaim(key=b"k", claimant=claimant, lease_s=1.0, awaited=self.waiting[claimant])

        _, heard = claimed(self.record, claim, self.now_us)

        assert not isinstance(heard, Busy)

    @invariant()
    def one_token_at_most_is_good_for_anything(self) -> None:
        good = [
            token
            for token in self.tokens
            if extended(self.record, token=token, lease_s=1.0, now_us=self.now_us) is not None
        ]
        leader = self.leads()
        assert good == ([] if leader is None else [leader.token])

    @invariant()
    def ended_record_says_no_more_than_none(self) -> None:
        if self.record is not None and self.record.has_ended(self.now_us):
            claim = AnswerClaim(key=b"k", claimant="x", lease_s=1.0, awaited=0)
            assert claimed(self.record, claim, self.now_us) == claimed(None, claim, self.now_us)


AnswerRecordMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestAnswerRecordMachine = AnswerRecordMachine.TestCase
