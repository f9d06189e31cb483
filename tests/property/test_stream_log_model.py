"""`StreamLog` under any history of writers, readers and those in a hurry: exact copies, and never too far ahead."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.domain.stream_log import StreamLog

SHORT = st.text(alphabet=st.sampled_from("ab é€😀\ud83d\ude00\x00"), max_size=12)
LONG = st.builds(lambda text, times: text * times, SHORT, st.integers(80, 120))  # beside, and across, ends of blocks
PIECES = SHORT | LONG


def size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


class StreamLogMachine(RuleBasedStateMachine):
    """Every reader holds a prefix of what was written, and the writer stays within its bound of the foremost one."""

    @initialize(max_ahead_bytes=st.integers(1, 20) | st.integers(1000, 1100))
    def begin(self, max_ahead_bytes: int) -> None:
        self.max_ahead_bytes = max_ahead_bytes
        self.ended: list[StreamLog] = []
        self.log = StreamLog(max_ahead_bytes=max_ahead_bytes, on_end=self.ended.append)
        self.written = ""
        self.heard: list[str] = []
        self.positions: list[int] = []
        self.foremost = 0
        self.passed_on_to = 0
        self.hurried = 0

    @rule(piece=PIECES)
    def write(self, piece: str) -> None:
        ahead = size(self.written) - self.foremost
        fits = ahead == 0 or ahead + size(piece) <= self.max_ahead_bytes

        taken = self.log.try_append(piece)

        assert taken == ((fits or self.hurried > 0) and not self.ended)
        if taken:
            self.written += piece

    @rule()
    def come(self) -> None:
        self.heard.append("")
        self.positions.append(0)

    @precondition(lambda self: bool(self.heard))
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        who = data.draw(st.integers(0, len(self.heard) - 1))
        before = self.positions[who]

        piece, self.positions[who] = self.log.read(before)
        self.passed_on_to = max(self.passed_on_to, before)

        self.heard[who] += piece
        self.foremost = max(self.foremost, self.positions[who])
        assert bool(piece) == (before < size(self.written))
        assert size(piece) <= self.max_ahead_bytes + 3

    @precondition(lambda self: bool(self.heard))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        who = data.draw(st.integers(0, len(self.heard) - 1))
        del self.heard[who], self.positions[who]

    @rule()
    def hurry(self) -> None:
        self.hurried += 1
        self.log.hurry()

    @precondition(lambda self: self.hurried > 0)
    @rule()
    def unhurry(self) -> None:
        self.hurried -= 1
        self.log.unhurry()

    @rule()
    def end(self) -> None:
        self.log.end()

    @invariant()
    def each_reader_has_heard_an_exact_beginning(self) -> None:
        for heard, position in zip(self.heard, self.positions, strict=True):
            assert self.written.startswith(heard)
            assert size(heard) == position

    @invariant()
    def log_holds_what_was_written_and_no_more(self) -> None:
        assert self.log.text() == self.written
        assert self.log.size_bytes == size(self.written)

    @invariant()
    def log_is_delivered_once_all_was_passed_on_or_while_somebody_is_in_a_hurry(self) -> None:
        assert self.log.is_delivered == (self.passed_on_to == size(self.written) or self.hurried > 0)

    @invariant()
    def end_is_told_once(self) -> None:
        assert len(self.ended) <= 1
        assert self.log.has_ended == bool(self.ended)


StreamLogMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestStreamLog = StreamLogMachine.TestCase
