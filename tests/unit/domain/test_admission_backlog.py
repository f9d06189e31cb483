from __future__ import annotations

import itertools
from collections.abc import Iterator

from holdfast.domain.admission_backlog import Backlogs
from holdfast.domain.admission_flow import Entry, Flow
from holdfast.domain.admission_overload import OverloadWatch
from holdfast.domain.deadline import Deadline
from holdfast.domain.urgency import Urgency
from holdfast.ports.service import Priority
from holdfast.testing import ManualClock

FAR = Deadline(1e9, ManualClock())
NUMBERS = itertools.count()


class Line(Flow):
    """The line of one tenant, which notes whether anybody looked at who is in it."""

    def __init__(self, tenant: str) -> None:
        overload = OverloadWatch(after_s=30.0, wait_s=3.0, now_s=0.0)
        super().__init__(tenant=tenant, priority=Priority.NORMAL, weight=1.0, tag=0.0, overload=overload)
        self.opened = False

    def from_last(self) -> Iterator[Entry]:
        self.opened = True
        return super().from_last()


def join(backlogs: Backlogs, line: Line, *, tokens: int) -> Entry:
    urgency = Urgency(Priority.NORMAL, FAR)
    entry = Entry(tenant=line.tenant, size_bytes=1, tokens=tokens, urgency=urgency, arrived_s=0.0, number=next(NUMBERS))
    line.add(entry)
    backlogs.update(line)
    return entry


def leave(backlogs: Backlogs, line: Line, entry: Entry) -> None:
    line.remove(entry)
    backlogs.update(line)


def from_last(backlogs: Backlogs) -> Iterator[Entry]:
    return backlogs.from_last(None, None, tag=0.0, weight=1.0)


def test_line_that_was_empty_and_fills_again_takes_the_place_of_nobody() -> None:
    backlogs, one, other = Backlogs(), Line("a"), Line("b")
    gone = join(backlogs, one, tokens=1)
    stays = join(backlogs, other, tokens=5)
    leave(backlogs, one, gone)
    back = join(backlogs, one, tokens=9)

    assert list(from_last(backlogs)) == [back, stays]


def test_line_is_looked_at_only_once_it_is_its_turn() -> None:
    backlogs, lines = Backlogs(), [Line("a"), Line("b"), Line("c")]
    entries = [join(backlogs, line, tokens=tokens) for line, tokens in zip(lines, (9, 5, 2), strict=True)]

    assert next(from_last(backlogs)) is entries[0]
    assert [line.opened for line in lines] == [True, False, False]
