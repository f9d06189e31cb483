"""One breaker of eight real processes, over a real Redis or a file: one probe, whatever the clocks say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.redis_server import RedisServer
from tests.fakes.server_process import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.real_time]

PROGRAM = Path(__file__).with_name("breaker_under_fire.py")
OPEN_S = 3.0
HOUR_S = 3600.0
BREAKER = {"failures_in_row": 2, "probe_calls": 1, "probe_successes": 1, "probe_timeout_s": 5.0}
GUARD = {"retry": {"max_attempts": 1}, "attempt_timeout_s": 4.0, "pool": {"acquire_timeout_s": 1.0}}

Shared = dict[str, Any]


class Process:
    """One process that shares the breaker, and the two pipes that lead to it."""

    def __init__(self) -> None:
        self.reads, to_process = os.pipe()
        from_process, self.writes = os.pipe()
        self._input = open(to_process, "w")  # noqa: SIM115, PTH123 - a descriptor, closed by `close`
        self._output = open(from_process)  # noqa: SIM115, PTH123 - as above
        self._number = 0

    def wait_ready(self) -> None:
        os.close(self.reads)
        os.close(self.writes)
        self._number = int(self._output.readline())

    def say(self, what: object) -> None:
        self._input.write(f"{json.dumps(what)}\n")
        self._input.flush()

    def hear(self) -> Any:  # noqa: ANN401 - whatever it answers
        return json.loads(self._output.readline())

    def ask(self, what: object) -> Any:  # noqa: ANN401 - as above
        self.say(what)
        return self.hear()

    @property
    def state(self) -> str:
        return str(self.ask("state")[0])

    def end(self) -> None:
        """Let it end by itself, as a service does that is restarted; return when it has."""
        self._input.close()
        assert self._output.read() == ""

    def kill(self) -> None:
        os.kill(self._number, signal.SIGKILL)

    def close(self) -> None:
        """Close the pipes."""
        self._input.close()
        self._output.close()


Start = Callable[..., list[Process]]


@pytest.fixture
def peer(tmp_path: Path) -> Path:
    """Give the folder of a peer that is ill."""
    (tmp_path / "ill").touch()
    (tmp_path / "calls").touch()
    return tmp_path


@pytest.fixture(params=["redis", "sqlite"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Shared:
    # The promise is for a store that answers in time, so a busy machine is given time: who hears nothing goes on alone.
    patient = {"share": ["breakers"], "link": {"timeout_s": 10.0}, "breakers": {"claim_timeout_s": 10.0}}
    if request.param == "sqlite":
        return patient | {"kind": "sqlite", "database": str(tmp_path / "shared.sqlite")}
    server: RedisServer = request.getfixturevalue("redis_server")
    return patient | {"kind": "redis", "url": server.url, "command_timeout_s": 10.0}


@pytest.fixture
def start(shared: Shared, peer: Path) -> Iterator[Start]:
    """Start processes; all are ended after the test."""
    with ExitStack() as stack:

        def begin(
            count: int,
            *,
            open_s: float = OPEN_S,
            seconds: Callable[[int], float] = lambda _: 0.0,
            off_s: Callable[[int], float] = lambda _: 0.0,
        ) -> list[Process]:
            breaker = BREAKER | {"open_s": open_s, "max_open_s": open_s}
            settings = {"shared": shared, "guard": GUARD | {"breaker": breaker}}
            processes = [Process() for _ in range(count)]
            own = [
                {"seconds": seconds(number), "off_s": off_s(number), "reads": process.reads, "writes": process.writes}
                for number, process in enumerate(processes)
            ]
            program = subprocess.Popen(
                [
                    *(sys.executable, str(PROGRAM)),
                    json.dumps({"settings": settings, "folder": str(peer), "processes": own}),
                ],
                pass_fds=[end for process in processes for end in (process.reads, process.writes)],
                cwd=PROGRAM.parents[2],
                start_new_session=True,
            )
            stack.callback(program.wait, 30)
            stack.callback(os.killpg, program.pid, signal.SIGKILL)
            for process in processes:
                stack.callback(process.close)
                process.wait_ready()
            return processes

        yield begin


def most_at_once(peer: Path) -> int:
    """Return how many calls of the peer were under way at once."""
    running = most = 0
    for line in (peer / "calls").read_text().split():
        running += 1 if line == "begin" else -1
        most = max(most, running)
    return most


def trip(process: Process) -> None:
    for _ in range(2):
        assert process.ask({"call": 1}) == {"ill": 1}


def wait_for(processes: list[Process], state: str) -> None:
    wait_until(lambda: {process.state for process in processes} == {state}, f"all are {state}")


def test_eight_processes_half_open_have_one_probe_in_flight(start: Start, peer: Path) -> None:
    off_s = {1: HOUR_S, 2: -HOUR_S}
    processes = start(8, seconds=lambda _: 1.0, off_s=lambda number: off_s.get(number, 0.0))
    trip(processes[0])
    wait_for(processes, "half_open")
    (peer / "calls").write_text("")

    for process in processes:
        process.say({"call": 20})
    ended = sum((Counter(process.hear()) for process in processes), Counter[str]())

    # A process that comes seconds late finds the circuit half-open again, and may probe then.
    assert ended["ill"] == (peer / "calls").read_text().count("begin")
    assert ended == {"ill": ended["ill"], "refused": 160 - ended["ill"]}
    assert most_at_once(peer) == 1


def test_eight_processes_close_together_when_the_probe_succeeds(start: Start, peer: Path) -> None:
    processes = start(8)
    trip(processes[3])
    wait_for(processes, "half_open")
    (peer / "ill").unlink()
    (peer / "calls").write_text("")

    while processes[5].ask({"call": 1}) != {"well": 1}:
        pass
    wait_for(processes, "closed")

    assert most_at_once(peer) == 1


def test_process_that_holds_the_probe_is_killed_and_another_probes_after_its_lease(start: Start, peer: Path) -> None:
    slow, *processes = start(4, seconds=lambda number: 0.0 if number else 60.0)
    trip(processes[0])
    wait_for([slow, *processes], "half_open")
    (peer / "calls").write_text("")
    slow.say({"call": 1})
    wait_until(lambda: (peer / "calls").read_text() == "begin\n", "the probe is under way")

    slow.kill()
    assert [process.ask({"call": 1}) for process in processes] == [{"refused": 1}] * 3
    (peer / "ill").unlink()
    wait_until(lambda: processes[1].ask({"call": 1}) == {"well": 1}, "another one may probe")


def test_opening_of_one_is_seen_by_all_within_a_second_whatever_their_clocks_say(start: Start, peer: Path) -> None:
    processes = start(4, open_s=60.0, off_s=lambda number: (number - 1) * HOUR_S)

    trip(processes[0])
    wait_for(processes, "open")

    opened = [dict(process.ask("events"))["BreakerOpened"] for process in processes]
    assert max(opened) - min(opened) < 1.0
    assert [process.ask({"call": 5}) for process in processes] == [{"refused": 5}] * 4


def test_opening_is_still_there_after_all_processes_restart(start: Start, peer: Path) -> None:
    processes = start(8, open_s=60.0)
    trip(processes[0])
    wait_for(processes, "open")
    for process in processes:
        process.end()

    restarted = start(8, open_s=60.0)

    assert {process.state for process in restarted} == {"open"}
    assert [process.ask({"call": 3}) for process in restarted] == [{"refused": 3}] * 8
