"""A breaker of three processes through any story: calls, cancels, a store that leaves, freezes, refuses and forgets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import anyio
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from holdfast.domain.breaker_config import BreakerConfig
from holdfast.domain.store_link import StoreLinkConfig
from holdfast.ports.errors import BackendUnavailableError, BreakerOpenError, RequestError
from holdfast.ports.events import SharedStoreLost, SharedStoreRejoined
from holdfast.ports.statistics import BreakerState
from holdfast.testing import virtual_backend
from tests.fakes.breakers import CONFIG, BreakerPlace, PeerProcess, open_processes

PROCESSES = 3
LONGEST_S = 40.0  # above every opening, lease and pause
FOLLOWING = StoreLinkConfig(refresh_s=1.0, refused_s=5.0)


@dataclass(frozen=True)
class Call:
    """A call by one process, which ends so after so many seconds, or is cancelled before."""

    process: int
    ends: str
    seconds: float
    cancelled_after_s: float | None


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one process' way to the store, or is over."""

    process: int
    what: str


@dataclass(frozen=True)
class Forget:
    """The store loses everything, or this breaker alone."""

    everything: bool


@dataclass(frozen=True)
class Pause:
    """Nothing happens."""

    seconds: float


Step = Call | Fault | Forget | Pause

whose = st.integers(0, PROCESSES - 1)
pauses = st.sampled_from([0.0, 0.01, 0.3, 1.0, 5.0, 10.0])
calls = st.builds(
    Call,
    process=whose,
    ends=st.sampled_from(["well", "ill", "ill", "invalid"]),
    seconds=st.sampled_from([0.0, 0.1, 1.0, 15.0]),
    cancelled_after_s=st.none() | st.sampled_from([0.0, 0.005, 0.05, 2.0]),
)
quiet = st.lists(calls | st.builds(Pause, pauses), max_size=12)
stormy = st.lists(
    calls
    | st.builds(Pause, pauses)
    | st.builds(Fault, whose, st.sampled_from(["leave", "refuse", "deaf", "mute", "come back", "come back"]))
    | st.builds(Forget, st.booleans()),
    max_size=12,
)
configs = st.builds(
    lambda failures, successes, tolerated: replace(
        CONFIG, failures_in_row=failures, max_open_s=10.0, probe_successes=successes, probe_calls=successes + tolerated
    ),
    failures=st.integers(1, 2),
    successes=st.integers(1, 2),
    tolerated=st.integers(0, 1),
)


class Story:
    """Goes through the steps, and counts how many probes are under way at once."""

    def __init__(self, config: BreakerConfig) -> None:
        self._config = config
        self._probing = 0
        self.most_probing = 0
        self.states: list[BreakerState] = []
        self.place = BreakerPlace()

    async def run(self, steps: list[Step]) -> None:
        self.place = BreakerPlace()
        async with open_processes(PROCESSES, self._config, place=self.place, following=FOLLOWING) as processes:
            for process in processes:
                process.place.latency_s = 0.002
            async with anyio.create_task_group() as tasks:
                for step in steps:
                    match step:
                        case Call():
                            tasks.start_soon(self._call, processes[step.process], step)
                            await anyio.sleep(0.0)
                        case Fault():
                            self._fault(processes[step.process], step.what)
                        case Forget():
                            self.place.lose(*(process.place for process in processes if step.everything))
                        case Pause():
                            await anyio.sleep(step.seconds)
            await self._assert_settles(processes)

    async def _assert_settles(self, processes: list[PeerProcess]) -> None:
        """Let everything come to rest, then let every probe succeed."""
        for process in processes:
            process.place.come_back()
        await anyio.sleep(LONGEST_S)
        self.states = [process.state for process in processes]
        for process in processes:
            counted = process.link.statistics()
            assert counted.joined
            assert counted.in_flight <= 1  # a round may be under way
            assert counted.lost == counted.rejoined
            told = [event for event in process.told.heard if isinstance(event, SharedStoreLost | SharedStoreRejoined)]
            assert [type(event) for event in told] == [SharedStoreLost, SharedStoreRejoined] * counted.lost
        for _ in range(12):
            for process in processes:
                await self._call(process, Call(0, "well", 0.0, None))
            await anyio.sleep(1.2)
        assert {process.state for process in processes} == {BreakerState.CLOSED}
        assert (await self.place.breakers.look("peer")).probe is None

    def _fault(self, process: PeerProcess, what: str) -> None:
        process.place.come_back()
        match what:
            case "leave":
                process.place.leave()
            case "refuse":
                process.place.refuse()
            case "deaf":
                process.place.deaf = True
            case "mute":
                process.place.mute = True
            case _:
                pass

    async def _call(self, process: PeerProcess, call: Call) -> None:
        async def work() -> None:
            is_probe = process.state is BreakerState.HALF_OPEN
            self._probing += is_probe
            self.most_probing = max(self.most_probing, self._probing)
            try:
                await anyio.sleep(call.seconds)
            finally:
                self._probing -= is_probe
            if call.ends == "ill":
                raise BackendUnavailableError("ill", backend="peer")
            if call.ends == "invalid":
                raise RequestError("of the caller")

        began_s = anyio.current_time()
        with anyio.move_on_after(LONGEST_S if call.cancelled_after_s is None else call.cancelled_after_s):
            try:
                await process.breaker.call(work)
            except BreakerOpenError:
                assert anyio.current_time() - began_s <= 0.21  # the claim timeout
            except (BackendUnavailableError, RequestError):
                assert anyio.current_time() - began_s <= call.seconds + 0.21


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(steps=quiet, config=configs)
@settings(max_examples=25)
def test_any_calls_and_cancels_have_one_probe_at_once_that_had_its_time(
    backend: str, steps: list[Step], config: BreakerConfig
) -> None:
    # A probe that outlives its time is replaced, as it would be if its process had died.
    steps = [replace(step, seconds=min(step.seconds, 1.0)) if isinstance(step, Call) else step for step in steps]
    name, options = virtual_backend(backend)
    story = Story(config)

    anyio.run(story.run, steps, backend=name, backend_options=options)

    assert story.most_probing <= 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(steps=stormy, config=configs)
@settings(max_examples=50)
def test_any_story_ends_with_all_of_one_mind_and_nothing_held(
    backend: str, steps: list[Step], config: BreakerConfig
) -> None:
    name, options = virtual_backend(backend)
    story = Story(config)

    anyio.run(story.run, steps, backend=name, backend_options=options)

    assert len(set(story.states)) == 1
