from __future__ import annotations

import contextlib

import anyio
import pytest

from holdfast.adapters.inference.scripted import Answer, Fault, Hang, ScriptedBackend, Step, in_turn
from holdfast.ports.errors import BackendUnavailableError
from holdfast.ports.inference import Completion, Message, Prompt, Role
from holdfast.testing import VirtualClock, sweep_cancellation

pytestmark = pytest.mark.anyio

CLOCK = VirtualClock()


def prompt(text: str) -> Prompt:
    return Prompt(messages=(Message(role=Role.USER, content=text),))


async def test_repeating_gives_the_same_answer_after_the_delay() -> None:
    backend = ScriptedBackend.repeating("slow", "yes", delay_s=5.0, clock=CLOCK)
    start_s = CLOCK.monotonic_s()

    completions = [await backend.complete(prompt("a")), await backend.complete(prompt("b"))]

    assert completions == [Completion(text="yes", model="slow")] * 2
    assert CLOCK.monotonic_s() - start_s == pytest.approx(10.0)


async def test_complete_steps_in_turn_repeats_the_last() -> None:
    backend = ScriptedBackend("b", in_turn(Answer(text="1"), Answer(text="2")), clock=CLOCK)

    assert [(await backend.complete(prompt("a"))).text for _ in range(4)] == ["1", "2", "2", "2"]


async def test_complete_script_by_prompt_sees_each_prompt() -> None:
    def echo(asked: Prompt) -> Step:
        return Answer(text=asked.messages[-1].content.upper())

    backend = ScriptedBackend("echo", echo, clock=CLOCK)

    assert (await backend.complete(prompt("hello"))).text == "HELLO"


async def test_complete_fault_raises_a_fresh_copy_each_time_after_the_delay() -> None:
    error = BackendUnavailableError("down", backend="b")
    backend = ScriptedBackend("b", in_turn(Fault(error=error, delay_s=2.0)), clock=CLOCK)
    start_s = CLOCK.monotonic_s()

    with pytest.raises(BackendUnavailableError) as first:
        await backend.complete(prompt("a"))
    with pytest.raises(BackendUnavailableError) as second:
        await backend.complete(prompt("a"))

    assert first.value is not second.value
    assert error.__traceback__ is None
    assert (str(first.value), first.value.backend) == (str(error), "b")
    assert CLOCK.monotonic_s() - start_s == pytest.approx(4.0)


async def test_complete_hang_lasts_until_it_is_cancelled() -> None:
    backend = ScriptedBackend("b", in_turn(Hang()), clock=CLOCK)

    with anyio.move_on_after(1_000_000) as scope:
        await backend.complete(prompt("a"))

    assert scope.cancelled_caught
    assert backend.in_flight == 0


async def test_counts_calls_and_how_many_ran_at_once() -> None:
    backend = ScriptedBackend.repeating("b", "yes", delay_s=1.0, clock=CLOCK)

    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(backend.complete, prompt(str(number)))
    await backend.complete(prompt("last"))

    assert (backend.calls, backend.in_flight, backend.peak_in_flight) == (4, 0, 3)
    assert backend.prompts[-1] == prompt("last")
    assert len(backend.prompts) == 4


async def test_prompts_of_very_many_calls_are_bounded() -> None:
    backend = ScriptedBackend.repeating("b", "yes", clock=CLOCK)

    for number in range(1001):
        await backend.complete(prompt(str(number)))

    assert backend.calls == 1001
    assert len(backend.prompts) == 1000
    assert backend.prompts[0] == prompt("1")


@pytest.mark.parametrize(
    "step", [Answer(text="yes", delay_s=1.0), Fault(error=ValueError("no"), delay_s=1.0)], ids=["answer", "fault"]
)
async def test_complete_cancelled_at_any_checkpoint_is_no_longer_in_flight(step: Step) -> None:
    backend = ScriptedBackend("b", in_turn(step), clock=CLOCK)

    async def scenario() -> None:
        with contextlib.suppress(ValueError):
            await backend.complete(prompt("a"))

    async def check() -> None:
        assert backend.in_flight == 0

    assert await sweep_cancellation(scenario, check) >= 1


async def test_complete_script_that_raises_is_no_longer_in_flight() -> None:
    def broken(_: Prompt) -> Step:
        raise LookupError

    backend = ScriptedBackend("b", broken, clock=CLOCK)

    with pytest.raises(LookupError):
        await backend.complete(prompt("a"))

    assert backend.in_flight == 0
