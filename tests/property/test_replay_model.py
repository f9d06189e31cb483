"""What is taken once is never taken again, whatever the clock does."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from holdfast.domain.replay import ReplayCache

SKEW_MS = 5
LIFETIME_MS = 30
MOST = 8


class ReplayMachine(RuleBasedStateMachine):
    """Messages, and the same ones again, before a clock that is set forward and back, and through restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 1000
        self.latest_ms = self.now_ms
        self.taken: list[tuple[bytes, int]] = []
        self.made = 0
        self.open()

    def open(self) -> None:
        self.cache = ReplayCache(
            max_entries=MOST, lifetime_ms=LIFETIME_MS + SKEW_MS, skew_ms=SKEW_MS, opened_ms=self.now_ms
        )

    def offer(self, key: bytes, issued_ms: int) -> bool:
        if not issued_ms - SKEW_MS <= self.now_ms < issued_ms + LIFETIME_MS + SKEW_MS:
            return False
        if not self.cache.is_new(key, issued_ms=issued_ms, now_ms=self.now_ms) or self.cache.is_full:
            return False
        self.cache.remember(key, issued_ms=issued_ms)
        return True

    @rule(off_ms=st.integers(-LIFETIME_MS, SKEW_MS))
    def send(self, off_ms: int) -> None:
        self.made += 1
        message = b"%d" % self.made, self.now_ms + off_ms
        if self.offer(*message):
            self.taken.append(message)

    @rule(choice=st.integers(0, 1000))
    def send_again(self, choice: int) -> None:
        if self.taken:
            key, issued_ms = self.taken[choice % len(self.taken)]

            assert not self.offer(key, issued_ms)

    @rule(ms=st.integers(-3600, 3600))
    def set_the_clock(self, ms: int) -> None:
        self.now_ms += ms
        self.latest_ms = max(self.latest_ms, self.now_ms)

    @rule(ms=st.integers(0, LIFETIME_MS))
    def wait(self, ms: int) -> None:
        self.now_ms += ms
        self.latest_ms = max(self.latest_ms, self.now_ms)

    @rule()
    def restart(self) -> None:
        """Forget everything; the clock was not set back meanwhile, which nothing can help against."""
        self.now_ms = self.latest_ms + 1
        self.latest_ms = self.now_ms
        self.open()

    @invariant()
    def none_is_taken_again(self) -> None:
        assert not any(self.offer(key, issued_ms) for key, issued_ms in self.taken)

    @invariant()
    def no_more_than_allowed_are_remembered(self) -> None:
        assert len(self.cache) <= MOST


TestReplay = ReplayMachine.TestCase
TestReplay.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
