"""Faults in front of any port: `FaultInjector`."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from holdfast.adapters.inference.scripted import ScriptedBackend
from holdfast.ports.errors import BackendUnavailableError, ConfigurationError
from holdfast.ports.inference import Completion, InferenceBackend, Message, Prompt, Role
from holdfast.testing import FaultInjector, FaultPlan, InjectedFault, VirtualClock, sweep_cancellation

pytestmark = pytest.mark.anyio

PROMPT = Prompt(messages=(Message(role=Role.USER, content="why?"),))


def unavailable() -> Exception:
    return BackendUnavailableError("is down", backend="b")


def plan(seed: int = 7, **ratios: float) -> FaultPlan:
    return FaultPlan(seed=seed, error=unavailable, **ratios)


def behind(faults: FaultPlan) -> tuple[ScriptedBackend, InferenceBackend, FaultInjector]:
    backend = ScriptedBackend.repeating("b", "42", clock=VirtualClock())
    injector = FaultInjector(faults, clock=VirtualClock())
    return backend, injector.wrap(backend), injector


class Ledger:
    """A synchronous port."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> int:
        self.lines.append(line)
        return len(self.lines)


async def test_wrap_no_ratio_given_changes_nothing() -> None:
    backend, faulty, injector = behind(plan())

    assert (await faulty.complete(PROMPT)).text == "42"
    assert backend.calls == 1
    assert dict(injector.injected) == {}


async def test_wrap_other_attributes_are_those_of_the_adapter() -> None:
    backend, _, injector = behind(plan(lost_call_ratio=1.0))
    faulty = injector.wrap(backend)

    assert faulty.calls == backend.calls
    assert faulty.prompts == ()


async def test_delay_begins_the_call_late_and_within_the_bound() -> None:
    _, faulty, injector = behind(plan(delay_ratio=1.0, max_delay_s=5.0))
    began_s = anyio.current_time()
    await faulty.complete(PROMPT)

    assert 0 < anyio.current_time() - began_s <= 5.0
    assert injector.injected[InjectedFault.DELAY] == 1


async def test_lost_call_fails_and_was_never_made() -> None:
    backend, faulty, _ = behind(plan(lost_call_ratio=1.0))
    with pytest.raises(BackendUnavailableError):
        await faulty.complete(PROMPT)

    assert backend.calls == 0


async def test_lost_reply_fails_although_it_was_made() -> None:
    backend, faulty, _ = behind(plan(lost_reply_ratio=1.0))
    with pytest.raises(BackendUnavailableError):
        await faulty.complete(PROMPT)

    assert backend.calls == 1


async def test_hang_lasts_until_it_is_cancelled() -> None:
    backend, faulty, _ = behind(plan(hang_ratio=1.0))
    with anyio.move_on_after(3600) as scope:
        await faulty.complete(PROMPT)

    assert scope.cancelled_caught
    assert backend.calls == 0


async def test_duplicate_makes_the_call_twice_and_returns_once() -> None:
    backend, faulty, _ = behind(plan(duplicate_ratio=1.0))

    assert (await faulty.complete(PROMPT)).text == "42"
    assert backend.calls == 2


async def test_reorder_lets_the_next_call_go_first() -> None:
    order: list[str] = []

    class Noting:
        async def complete(self, prompt: Prompt) -> Completion:
            order.append(prompt.messages[0].content)
            return Completion(text="", model="m")

    # The second number of this seed lies above the ratio, the first one below.
    seed = next(seed for seed in range(100) if _draws(seed, reorder_ratio=0.5) == [InjectedFault.REORDER, None])
    faulty: InferenceBackend = FaultInjector(plan(seed, reorder_ratio=0.5), clock=VirtualClock()).wrap(Noting())
    async with anyio.create_task_group() as tasks:
        for name in ("first", "second"):
            tasks.start_soon(faulty.complete, Prompt(messages=(Message(role=Role.USER, content=name),)))
            await anyio.wait_all_tasks_blocked()

    assert order == ["second", "first"]


async def test_reorder_without_another_call_goes_on_after_the_longest_delay() -> None:
    _, faulty, _ = behind(plan(reorder_ratio=1.0, max_delay_s=2.0))
    began_s = anyio.current_time()
    await faulty.complete(PROMPT)

    assert anyio.current_time() - began_s == pytest.approx(2.0)


def _draws(seed: int, **ratios: float) -> list[InjectedFault | None]:
    injector = FaultInjector(plan(seed, **ratios), clock=VirtualClock())
    seen: list[InjectedFault | None] = []
    for _ in range(2):
        before = dict(injector.injected)
        injector._draw()  # what a call would get, without one
        seen.append(next((fault for fault, count in injector.injected.items() if count != before.get(fault, 0)), None))
    return seen


async def test_same_seed_gives_the_same_faults_and_another_seed_others() -> None:
    async def faults(seed: int) -> list[str]:
        _, faulty, _ = behind(plan(seed, lost_call_ratio=0.5))
        seen: list[str] = []
        for _ in range(40):
            try:
                seen.append((await faulty.complete(PROMPT)).text)
            except BackendUnavailableError:
                seen.append("lost")
        return seen

    assert await faults(1) == await faults(1)
    assert await faults(1) != await faults(2)


async def test_ratios_are_those_of_the_plan() -> None:
    _, faulty, injector = behind(plan(delay_ratio=0.2, duplicate_ratio=0.3))
    for _ in range(2000):
        await faulty.complete(PROMPT)

    assert injector.injected[InjectedFault.DELAY] == pytest.approx(400, abs=80)
    assert injector.injected[InjectedFault.DUPLICATE] == pytest.approx(600, abs=90)


@pytest.mark.parametrize(
    ("ratio", "lines", "fails"),
    [
        ("lost_call_ratio", 0, True),
        ("lost_reply_ratio", 1, True),
        ("duplicate_ratio", 2, False),
        ("hang_ratio", 1, False),
    ],
)
def test_synchronous_method_that_is_named_gets_what_does_not_wait(ratio: str, lines: int, fails: bool) -> None:
    ledger = Ledger()
    ratios: dict[str, Any] = {ratio: 1.0}
    faulty = FaultInjector(plan(**ratios), clock=VirtualClock()).wrap(ledger, methods={"note"})
    try:
        faulty.note("a")
    except BackendUnavailableError:
        assert fails
    else:
        assert not fails

    assert len(ledger.lines) == lines


def test_synchronous_method_that_is_not_named_is_left_alone() -> None:
    ledger = Ledger()

    assert FaultInjector(plan(lost_call_ratio=1.0), clock=VirtualClock()).wrap(ledger).note("a") == 1


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"delay_ratio": -0.1}, "faults.delay_ratio"),
        ({"delay_ratio": 0.6, "hang_ratio": 0.6}, "faults"),
        ({"max_delay_s": -1.0}, "faults.max_delay_s"),
    ],
)
def test_plan_that_cannot_be_is_refused_with_its_path(wrong: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        plan(**wrong)

    assert caught.value.path == path


@pytest.mark.parametrize("ratio", ["delay_ratio", "duplicate_ratio", "reorder_ratio", "lost_reply_ratio"])
async def test_call_cancelled_at_every_checkpoint_leaves_nothing_in_flight(ratio: str) -> None:
    backend = ScriptedBackend.repeating("b", "42", delay_s=1.0, clock=VirtualClock())
    ratios: dict[str, Any] = {ratio: 1.0}
    faulty: InferenceBackend = FaultInjector(plan(**ratios), clock=VirtualClock()).wrap(backend)

    async def ask() -> None:
        try:
            await faulty.complete(PROMPT)
        except BackendUnavailableError:
            assert ratio == "lost_reply_ratio"

    async def check() -> None:
        assert backend.in_flight == 0

    assert await sweep_cancellation(ask, check) > 0
