from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from holdfast.adapters.cli.progress_bar import LiveBar
from holdfast.adapters.cli.progress_lines import ProgressLines
from holdfast.ports.batch import BatchPhase, BatchProgress
from holdfast.testing import ManualClock
from tests.fakes.application import PROGRESS

SCANNING = replace(PROGRESS, phase=BatchPhase.SCANNING, items=1_200_000, pending=0, settled=0)


def _drawn(*steps: BatchProgress, width: int, is_stopping: bool = False) -> list[str]:
    """Return the lines of the bar after `steps`, one every two seconds."""
    clock = ManualClock()
    console = Console(file=io.StringIO(), width=width)
    bar = LiveBar(console, clock.monotonic_s)
    for step in steps:
        bar.show_progress(step)
        bar.render()
        clock.advance(2.0)
    if is_stopping:
        bar.show_stopping()
    with console.capture() as capture:
        console.print(bar.render())
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [40, 80])
def test_bar_shows_items_rate_time_left_duplicates_and_failures(width: int) -> None:
    bar, figures = _drawn(replace(PROGRESS, settled=0), PROGRESS, width=width)

    assert bar.startswith("running ")
    assert bar.rstrip().endswith(" 100/200")
    assert len(bar) <= width
    assert figures == "24.5/s  ETA 0:04  40 shared  6 failed"


def test_bar_is_as_long_as_the_part_that_is_done() -> None:
    half = _drawn(PROGRESS, width=80)[0]
    third = _drawn(replace(PROGRESS, pending=133), width=80)[0]

    assert half.count("━") > third.count("━") > 10


def test_bar_while_scanning_counts_lines() -> None:
    bar, figures = _drawn(SCANNING, width=80)

    assert bar.startswith("scanning ")
    assert bar.rstrip().endswith(" 1,200,000 lines")
    assert figures == ""


def test_bar_before_anything_is_known_says_that_it_opens() -> None:
    assert _drawn(width=40) == ["opening"]


def test_bar_that_is_stopping_says_how_to_end_at_once() -> None:
    lines = _drawn(PROGRESS, width=80, is_stopping=True)

    assert lines[2:] == ["stopping when calls in flight have ended; once more ends at once"]


def test_bar_without_results_yet_knows_no_time_left() -> None:
    assert _drawn(PROGRESS, width=80)[1] == "–  ETA –  40 shared  6 failed"


def test_bar_is_drawn_on_the_terminal_and_gone_when_it_ends() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=40, legacy_windows=False)

    with LiveBar(console) as bar:
        bar.show_progress(PROGRESS)
    written = stream.getvalue()

    assert "100/200" in written
    assert written.rfind("\x1b[2K") > written.rfind("100/200"), "the line is erased after it was drawn last"
    assert written.rfind("\x1b[?25h") > written.rfind("\x1b[?25l"), "the cursor is back"


def test_lines_are_written_after_the_scan_and_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ProgressLines()
    for step in (
        replace(SCANNING, items=1000, elapsed_s=0.1),
        replace(SCANNING, items=2000, elapsed_s=0.2),
        replace(PROGRESS, pending=198, settled=0, elapsed_s=0.5),
        replace(PROGRESS, pending=188, settled=10, elapsed_s=5.5),
        replace(PROGRESS, pending=178, settled=20, elapsed_s=10.5),
        replace(PROGRESS, phase=BatchPhase.EXPORTING, pending=0, settled=198, elapsed_s=11.0),
    ):
        lines.show_progress(step)

    assert capsys.readouterr().err.splitlines() == [
        "running  2/200  –  ETA –  40 shared  6 failed",
        "running  22/200  1.92/s  ETA 1:32  40 shared  6 failed",
        "exporting  200/200  18.2/s  ETA 0:00  40 shared  6 failed",
    ]


def test_scan_that_takes_long_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ProgressLines()
    for elapsed_s in (9.9, 10.1, 10.2):
        lines.show_progress(replace(SCANNING, elapsed_s=elapsed_s))

    assert capsys.readouterr().err == "scanning  1,200,000 lines\n"


def test_lines_say_that_it_is_stopping(capsys: pytest.CaptureFixture[str]) -> None:
    ProgressLines().show_stopping()

    assert capsys.readouterr().err == "stopping when calls in flight have ended; once more ends at once\n"
