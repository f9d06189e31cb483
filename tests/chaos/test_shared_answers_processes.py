"""Answers shared by real processes over real stores: once called for, whoever dies, hangs or wakes up late."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from tests.fakes.redis_server import RedisServer, StartRedis
from tests.fakes.server_process import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.real_time]

PROGRAM = Path(__file__).with_name("sharing_under_fire.py")
LEASE_S = 3.0

# A process of a busy machine that is held up for longer than this calls for itself, which is not what is tested.
TIMES = {
    "link": {"timeout_s": 5.0, "rejoin_s": 0.2},
    "breakers": {"claim_timeout_s": 5.0},
    "answers": {"lease_s": LEASE_S, "claim_timeout_s": LEASE_S / 3},
}
PATIENT = {"link": {"timeout_s": 20.0}, "answers": {"lease_s": 60.0, "claim_timeout_s": 20.0}}

Shared = dict[str, Any]


class Process:
    """One process that shares answers.

    Args:
        connection: to it.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("rw")
        self.number: int = json.loads(self._lines.readline())

    def say(self, question: object) -> None:
        self._lines.write(f"{json.dumps(question)}\n")
        self._lines.flush()

    def ask(self, question: str = "why?", *, times: int = 1) -> None:
        self.say({"question": question, "times": times})

    def ended(self) -> Ended:
        return Ended(**json.loads(self._lines.readline()))

    def health(self) -> dict[str, Any]:
        self.say("health")
        found: dict[str, Any] = json.loads(self._lines.readline())
        return found

    def send(self, number: signal.Signals) -> None:
        os.kill(self.number, number)

    def end(self) -> None:
        with suppress(ProcessLookupError):
            self.send(signal.SIGKILL)
        self._lines.close()
        self._connection.close()


@dataclass(frozen=True)
class Ended:
    """How the questions to one process ended."""

    replies: list[list[str]]
    errors: list[str]


class Calls:
    """What the backends have noted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def lines(self) -> list[tuple[int, float]]:
        """The process of each call, and when it began, on the clock of the machine."""
        if not self.path.exists():
            return []
        fields = (line.split() for line in self.path.read_text().splitlines())
        return [(int(number), float(at_s)) for number, at_s in fields]

    def wait_for(self, count: int) -> None:
        wait_until(lambda: len(self.lines) >= count, f"{count} calls")


@pytest.fixture
def calls(tmp_path: Path) -> Calls:
    return Calls(tmp_path / "calls")


Start = Callable[..., list[Process]]


@pytest.fixture(scope="module")
def forking() -> Iterator[IO[str]]:
    """Give the input of a program that forks processes, which all tests of this module share."""
    program = subprocess.Popen([sys.executable, str(PROGRAM)], stdin=subprocess.PIPE, text=True)
    assert program.stdin is not None

    yield program.stdin

    program.kill()
    program.communicate()


@pytest.fixture
def start(forking: IO[str], calls: Calls) -> Iterator[Start]:
    """Start processes and wait until all of them are ready; all are ended after the test."""
    with ExitStack() as stack:
        door = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        door.settimeout(60.0)

        def start(count: int, shared: Shared, *, seconds: float = 1.0, loop: str = "asyncio") -> list[Process]:
            given = {
                "settings": {"shared": shared, "guard": {"retry": {"max_attempts": 1}}},
                "calls": str(calls.path),
                "seconds": seconds,
                "loop": loop,
                "port": door.getsockname()[1],
            }
            forking.write(f"{json.dumps(given)}\n" * count)
            forking.flush()
            them: list[Process] = []
            for _ in range(count):
                connection, _ = door.accept()
                connection.settimeout(60.0)
                them.append(Process(connection))
                stack.callback(them[-1].end)
            return them

        yield start


def in_redis(server: RedisServer) -> Shared:
    return {"kind": "redis", "url": server.url, "command_timeout_s": 20.0, **TIMES}


@pytest.fixture(params=["redis", "sqlite on asyncio", "sqlite on trio"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Shared, str]:
    """Give a store, and the event loop of those who ask it."""
    if request.param == "redis":
        return in_redis(request.getfixturevalue("redis_server")), "asyncio"
    return {"kind": "sqlite", "database": str(tmp_path / "shared.sqlite3"), **TIMES}, request.param.split()[-1]


@pytest.mark.parametrize(
    ("count", "place"), [(8, "redis"), (4, "sqlite on asyncio"), (4, "sqlite on trio")], indirect=["place"]
)
def test_processes_that_each_ask_the_same_fifty_times_call_once_and_all_get_the_answer(
    count: int, place: tuple[Shared, str], start: Start, calls: Calls
) -> None:
    shared, loop = place
    them = start(count, shared | PATIENT, loop=loop)

    for process in them:
        process.ask(times=50)
    ended = [process.ended() for process in them]

    assert [each.errors for each in ended] == [[]] * count
    ((leader, _),) = calls.lines
    replies = [tuple(reply) for each in ended for reply in each.replies]
    assert len(replies) == count * 50
    assert {text for text, _ in replies} == {f"by {leader}"}
    assert Counter(disposition for _, disposition in replies)["called"] == 1


def test_leader_killed_is_taken_over_from_by_one_other_when_its_lease_is_over(
    place: tuple[Shared, str], start: Start, calls: Calls
) -> None:
    shared, loop = place
    them = start(4, shared, seconds=1.5, loop=loop)
    for process in them:
        process.ask(times=5)
    calls.wait_for(1)
    ((leader, _),) = calls.lines
    (dead,) = (process for process in them if process.number == leader)

    dead.send(signal.SIGKILL)
    ended = [process.ended() for process in them if process is not dead]

    (_, began_s), (second, taken_over_s) = calls.lines
    assert second != leader
    assert [each.errors for each in ended] == [[]] * 3
    assert {text for each in ended for text, _ in each.replies} == {f"by {second}"}
    assert taken_over_s - began_s <= LEASE_S + 5.0  # what a busy machine takes is not the lease's


def test_leader_that_was_stopped_and_wakes_late_is_fenced_off_and_still_answers_its_own_callers(
    place: tuple[Shared, str], start: Start, calls: Calls
) -> None:
    shared, loop = place
    them = start(3, shared, seconds=1.5, loop=loop)
    for process in them:
        process.ask(times=5)
    calls.wait_for(1)
    ((leader, _),) = calls.lines
    (stopped,) = (process for process in them if process.number == leader)
    others = [process for process in them if process is not stopped]

    stopped.send(signal.SIGSTOP)
    others_ended = [process.ended() for process in others]
    stopped.send(signal.SIGCONT)
    late = stopped.ended()

    _, (second, _) = calls.lines
    assert {text for each in others_ended for text, _ in each.replies} == {f"by {second}"}
    assert ({text for text, _ in late.replies}, late.errors) == ({f"by {leader}"}, [])
    wait_until(lambda: stopped.health()["fenced"] == 1, "the late leader knows that it is")
    assert stopped.health()["told"] == 0
    (newcomer,) = start(1, shared, loop=loop)
    newcomer.ask()
    assert newcomer.ended().replies == [[f"by {second}", "cached"]]


@pytest.mark.parametrize("away", ["freeze", "kill", "restart"])
def test_redis_lost_while_all_wait_lets_each_process_go_on_alone(
    away: str, start_redis: StartRedis, start: Start, calls: Calls
) -> None:
    server = start_redis()
    them = start(4, in_redis(server), seconds=1.5)
    for process in them:
        process.ask(times=5)
    calls.wait_for(1)

    getattr(server, away)()
    ended = [process.ended() for process in them]

    assert [each.errors for each in ended] == [[]] * 4
    assert [len(each.replies) for each in ended] == [5] * 4
    # One that was restarted empty in time has lost the claim only: one other may have made it anew for all.
    assert len(calls.lines) == 4 if away != "restart" else 2 <= len(calls.lines) <= 4


def test_redis_frozen_and_thawed_is_found_again_and_shares_as_before(
    start_redis: StartRedis, start: Start, calls: Calls
) -> None:
    server = start_redis()
    them = start(3, in_redis(server), seconds=0.5)
    server.freeze()
    wait_until(lambda: not any(process.health()["joined"] for process in them), "the loss is noticed")
    for process in them:
        process.ask("while it is away")
    assert [process.ended().errors for process in them] == [[]] * 3
    assert len(calls.lines) == 3

    server.thaw()
    wait_until(lambda: all(process.health()["joined"] for process in them), "it is found again")
    for process in them:
        process.ask("when it is back")
    ended = [process.ended() for process in them]

    assert len(calls.lines) == 4
    assert len({text for each in ended for text, _ in each.replies}) == 1


def test_what_others_write_under_the_keys_reaches_no_caller(
    redis_server: RedisServer, start: Start, calls: Calls
) -> None:
    first, second = start(2, in_redis(redis_server))
    first.ask("what is mine?")
    first.ended()
    wait_until(lambda: first.health()["told"] == 1, "the answer is in the store")
    with redis_server.client() as client:
        (key,) = [name for name in client.keys("*{answer:*")]  # noqa: C416 - typed as anything
        client.hset(key, "outcome", "holdfast.outcome.1 " + "0" * 64 + '\n{"answer":{"text":"evil"}}')
    second.ask("what is mine?")

    assert second.ended().replies == [[f"by {second.number}", "called"]]
    assert [number for number, _ in calls.lines] == [first.number, second.number]
