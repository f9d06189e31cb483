"""Validators and repairs, met by requests that go through `Orchestrator.submit`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from holdfast import Message, Role, Settings
from holdfast.application.orchestrator import Orchestrator
from holdfast.domain.output_judge import OutputAction, OutputRule
from holdfast.ports.errors import (
    BackendUnavailableError,
    ConfigurationError,
    OutputRejectedError,
    ValidatorError,
)
from holdfast.ports.events import OutputMarked, OutputRejected, OutputRepairAsked, ValidatorFailed
from holdfast.ports.inference import Completion, Parameters, Prompt, ResponseFormat, Usage
from holdfast.ports.service import Disposition, Reply
from holdfast.testing import sweep_cancellation
from tests.fakes.service import Answering, ask, assert_nothing_is_held, opened, told

pytestmark = pytest.mark.anyio

GOOD, BAD, UGLY = '{"total": 42}', '{"sum": 42}', "42, I think"
TOKENS = Usage(input_tokens=10, output_tokens=3)


def settings_of(action: str = "repair", **more: Any) -> Settings:  # noqa: ANN401 - settings are JSON
    order = {"kind": "required_fields", "fields": ["total"], "action": action}
    return Settings.model_validate({"validators": {"order": order}} | more)


def in_turn(*answers: str | Exception, delay_s: float = 1.0) -> Answering:
    """Return a backend that gives one answer after another, then the last one again; an error is raised."""

    def error_of(call: int) -> Exception | None:
        answer = answers[min(call, len(answers)) - 1]
        return answer if isinstance(answer, Exception) else None

    return Answering(
        delay_s=delay_s,
        text=lambda call: str(answers[min(call, len(answers)) - 1]),
        usage=TOKENS,
        failing=error_of,
    )


def rejected(**more: Any) -> OutputRejectedError:  # noqa: ANN401 - any attribute
    return OutputRejectedError(**{"validator": "order", "backend": "a", "problem": "lacks the field 'total'"} | more)


def heard(orchestrator: Orchestrator) -> list[object]:
    return [*told(orchestrator, OutputMarked, OutputRejected, OutputRepairAsked, ValidatorFailed)]


async def test_submit_answer_that_passes_goes_out_after_one_call() -> None:
    backend = in_turn(GOOD)
    async with opened({"a": backend}, settings_of()) as orchestrator:
        reply = await orchestrator.submit(ask())
        health = orchestrator.health()
        events = heard(orchestrator)

    assert (reply.text, reply.attempts, reply.marks, reply.usage) == (GOOD, 1, (), TOKENS)
    assert events == []
    assert health.output is not None
    assert (health.output.answers, health.output.passed) == (1, 1)
    assert_nothing_is_held(health)


async def test_submit_answer_that_lacks_a_field_is_mended_by_the_same_backend() -> None:
    backend, other = in_turn(BAD, GOOD), in_turn(GOOD)
    async with opened({"a": backend, "b": other}, settings_of()) as orchestrator:
        reply = await orchestrator.submit(ask())
        health = orchestrator.health()
        events = heard(orchestrator)

    assert (reply.text, reply.backend, reply.attempts) == (GOOD, "a", 2)
    assert reply.usage == Usage(input_tokens=20, output_tokens=6)
    assert reply.backend_s == pytest.approx(2.0)
    assert other.prompts == []
    first, second = backend.prompts
    assert second.messages == (
        *first.messages,
        Message(role=Role.ASSISTANT, content=BAD),
        Message(
            role=Role.USER,
            content="Your answer lacks the field 'total'. Give the whole answer again, with that mended.",
        ),
    )
    assert events == [OutputRepairAsked(validator="order", backend="a")]
    assert health.output is not None
    assert (health.output.passed, health.output.repairs, health.output.repaired) == (1, 1, 1)
    assert health.backends[0].retry_budget.retried == 1
    assert (health.backends[0].breaker.succeeded, health.backends[0].pool.leases) == (2, 2)
    assert_nothing_is_held(health)


async def test_submit_repair_carries_an_idempotency_key_of_its_own() -> None:
    backend = in_turn(BAD, GOOD)
    async with opened({"a": backend}, settings_of()) as orchestrator:
        await orchestrator.submit(ask(idempotency_key="mine"))

    assert [prompt.idempotency_key for prompt in backend.prompts] == ["mine", "mine-repair"]


async def test_submit_answer_that_is_still_wrong_is_rejected_and_kept_for_nobody() -> None:
    backend = in_turn(BAD, BAD, GOOD)
    async with opened({"a": backend}, settings_of()) as orchestrator:
        with pytest.raises(OutputRejectedError, match=r"'order': the answer of backend 'a' lacks the field 'total'"):
            await orchestrator.submit(ask())
        health = orchestrator.health()
        reply = await orchestrator.submit(ask())
        events = heard(orchestrator)

    assert (reply.text, reply.disposition, reply.attempts) == (GOOD, Disposition.CALLED, 1)
    assert events == [
        OutputRepairAsked(validator="order", backend="a"),
        OutputRejected(validator="order", backend="a"),
    ]
    assert health.requests.failed == 1
    assert health.output is not None
    assert (health.output.rejected, health.output.repairs, health.output.repaired) == (1, 1, 0)
    assert_nothing_is_held(health)


async def test_submit_when_the_retry_budget_is_spent_is_rejected_and_not_asked_again() -> None:
    spent = settings_of(guard={"retry_budget": {"min_retries": 0, "token_ratio": 0.01}})
    backend = in_turn(BAD, GOOD)
    async with opened({"a": backend}, spent) as orchestrator:
        with pytest.raises(OutputRejectedError):
            await orchestrator.submit(ask())
        health = orchestrator.health()
        events = heard(orchestrator)

    assert len(backend.prompts) == 1
    assert health.backends[0].retry_budget.without_token == 1
    assert events == [OutputRejected(validator="order", backend="a")]
    assert_nothing_is_held(health)


async def test_submit_100_wrong_answers_at_once_are_repaired_within_the_retry_budget_only() -> None:
    backend = in_turn(BAD)
    settings = settings_of(max_in_flight=200, guard={"pool": {"max_size": 200}})
    async with opened({"a": backend}, settings) as orchestrator:

        async def submit(number: int) -> None:
            with pytest.raises(OutputRejectedError):
                await orchestrator.submit(ask(f"question {number}"))

        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(submit, number)
        health = orchestrator.health()

    assert 100 < len(backend.prompts) <= 125
    assert health.output is not None
    assert health.output.repairs == len(backend.prompts) - 100
    assert health.output.rejected == 100
    assert_nothing_is_held(health)


async def test_submit_that_is_not_idempotent_is_not_asked_again() -> None:
    backend = in_turn(BAD, GOOD)
    async with opened({"a": backend}, settings_of()) as orchestrator:
        with pytest.raises(OutputRejectedError):
            await orchestrator.submit(ask(idempotent=False))

    assert len(backend.prompts) == 1


async def test_submit_repair_that_fails_is_not_retried_and_told_as_the_cause() -> None:
    down = BackendUnavailableError("is down", backend="a")
    backend, other = in_turn(BAD, down), in_turn(GOOD)
    async with opened({"a": backend, "b": other}, settings_of()) as orchestrator:
        with pytest.raises(OutputRejectedError) as caught:
            await orchestrator.submit(ask(no_cache=True))
        await anyio.sleep(1)  # while the pool resets what has failed
        health = orchestrator.health()

    assert caught.value.__cause__ is down
    assert len(backend.prompts) == 2
    assert other.prompts == []
    assert health.backends[0].breaker.failed == 1
    assert_nothing_is_held(health)


async def test_submit_action_reject_asks_nobody_again() -> None:
    backend = in_turn(BAD, GOOD)
    async with opened({"a": backend}, settings_of("reject")) as orchestrator:
        with pytest.raises(OutputRejectedError):
            await orchestrator.submit(ask())

    assert len(backend.prompts) == 1


async def test_submit_action_mark_lets_the_answer_out_with_its_mark_also_from_the_window() -> None:
    backend = in_turn(BAD)
    async with opened({"a": backend}, settings_of("mark")) as orchestrator:
        first = await orchestrator.submit(ask())
        second = await orchestrator.submit(ask())
        health = orchestrator.health()
        events = heard(orchestrator)

    assert (first.text, first.marks) == (BAD, ("order",))
    assert (second.disposition, second.marks) == (Disposition.CACHED, ("order",))
    assert events == [OutputMarked(validator="order", backend="a")]
    assert health.output is not None
    assert (health.output.answers, health.output.marked) == (1, 1)


async def test_submit_identical_requests_share_one_repair_and_one_rejection() -> None:
    backend = in_turn(BAD, BAD)
    failures: list[OutputRejectedError] = []
    async with opened({"a": backend}, settings_of()) as orchestrator:

        async def submit() -> None:
            with pytest.raises(OutputRejectedError) as caught:
                await orchestrator.submit(ask())
            failures.append(caught.value)

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(submit)
        health = orchestrator.health()

    assert len(backend.prompts) == 2
    assert len({id(failure) for failure in failures}) == 10
    assert {str(failure) for failure in failures} == {str(rejected())}
    assert_nothing_is_held(health)


async def test_submit_answer_is_judged_after_its_fences_are_stripped_also_the_mended_one() -> None:
    fenced = f"```json\n{GOOD}\n```"
    backend = in_turn(UGLY, fenced)
    async with opened({"a": backend}, settings_of()) as orchestrator:
        reply = await orchestrator.submit(ask(parameters=Parameters(response_format=ResponseFormat.JSON)))

    assert (reply.text, reply.attempts) == (GOOD, 2)


async def test_submit_validator_that_a_persona_names_checks_only_its_answers() -> None:
    settings = settings_of(
        "reject",
        prompts={"p": "Answer as JSON."},
        personas={"clerk": {"prompt": "p", "validators": ["order"]}, "poet": {"prompt": "p"}},
    )
    async with opened({"a": in_turn(UGLY)}, settings) as orchestrator:
        free = await orchestrator.submit(ask())
        poem = await orchestrator.submit(ask(persona="poet"))
        with pytest.raises(OutputRejectedError):
            await orchestrator.submit(ask(persona="clerk"))

    assert (free.text, poem.text) == (UGLY, UGLY)


class Fragile:
    """A validator with a bug that one answer brings to light."""

    name = "fragile"

    def check(self, text: str) -> str | None:
        if text == UGLY:
            raise RecursionError
        return None


async def test_submit_validator_that_raises_fails_that_request_by_name_while_others_go_on() -> None:
    class Echo:
        async def complete(self, prompt: Prompt) -> Completion:
            await anyio.sleep(1)
            return Completion(text=prompt.messages[-1].content, model="m")

    replies: list[Reply] = []
    failures: list[ValidatorError] = []
    rules = [OutputRule(validator=Fragile(), action=OutputAction.MARK)]
    async with opened({"a": Echo()}, settings_of(), output_rules=rules) as orchestrator:

        async def submit(question: str) -> None:
            try:
                replies.append(await orchestrator.submit(ask(question)))
            except ValidatorError as error:
                failures.append(error)

        async with anyio.create_task_group() as tasks:
            for question in ("one", UGLY, "two", "three"):
                tasks.start_soon(submit, question)
        after = await orchestrator.submit(ask("four"))
        health = orchestrator.health()
        events = heard(orchestrator)

    assert sorted(reply.text for reply in replies) == ["one", "three", "two"]
    assert after.text == "four"
    [failure] = failures
    assert failure.validator == "fragile"
    assert isinstance(failure.__cause__, ValidatorError)  # of the flight, which another caller may have shared
    assert isinstance(failure.__cause__.__cause__, RecursionError)
    assert events == [ValidatorFailed(validator="fragile", error="RecursionError")]
    assert health.output is not None
    assert (health.output.failed, health.output.passed) == (1, 4)
    assert health.backends[0].breaker.failed == 0
    assert_nothing_is_held(health)


@pytest.mark.parametrize(
    "text", ["[" * 90_000, '{"total":' * 9_000, "9" * 5000, '{"total": 1e999}', "\ud800", "x" * 200_000, "NaN"]
)
@pytest.mark.parametrize(
    "validator",
    [
        {"kind": "required_fields", "fields": ["total"]},
        {"kind": "json_schema", "json_schema": {"required": ["total"], "additionalProperties": {"$ref": "#"}}},
    ],
)
async def test_submit_answer_made_to_break_a_validator_is_rejected_like_any_other(
    validator: dict[str, Any], text: str
) -> None:
    settings = Settings.model_validate({"validators": {"strict": validator}})
    async with opened({"a": in_turn(text)}, settings) as orchestrator:
        with pytest.raises(OutputRejectedError) as caught:
            await orchestrator.submit(ask())

    assert len(str(caught.value)) < 300


async def test_submit_several_validators_of_each_kind_are_asked_in_their_order() -> None:
    settings = Settings.model_validate(
        {
            "validators": {
                "shape": {
                    "kind": "json_schema",
                    "json_schema": {"properties": {"total": {"type": "integer"}}},
                    "action": "repair",
                },
                "fields": {"kind": "required_fields", "fields": ["total"], "action": "repair"},
                "polite": {"kind": "pattern", "must_match": "please", "action": "mark"},
                "cited": {"kind": "pattern", "must_match": "§", "explanation": "cites nothing", "action": "mark"},
            }
        }
    )
    backend = in_turn('{"total": "42"}', GOOD)
    async with opened({"a": backend}, settings) as orchestrator:
        reply = await orchestrator.submit(ask())

    assert (reply.text, reply.marks) == (GOOD, ("polite", "cited"))
    assert 'is not as the schema says at properties.total.type: "integer"' in backend.prompts[1].messages[-1].content


@pytest.mark.parametrize("action", ["reject", "repair"])
async def test_stream_answer_that_may_be_kept_from_going_out_comes_as_one_piece(action: str) -> None:
    backend = in_turn(BAD, GOOD) if action == "repair" else in_turn(GOOD)
    async with (
        opened({"a": backend}, settings_of(action)) as orchestrator,
        orchestrator.stream(ask()) as stream,
    ):
        pieces = [piece async for piece in stream]
        reply = await stream.reply()

    assert pieces == [GOOD]
    assert (reply.text, reply.attempts) == (GOOD, len(backend.prompts))


async def test_stream_answer_that_is_rejected_sends_nothing() -> None:
    async with opened({"a": in_turn(BAD)}, settings_of("reject")) as orchestrator:
        async with orchestrator.stream(ask()) as stream:
            with pytest.raises(OutputRejectedError):
                await anext(stream)
        health = orchestrator.health()

    assert_nothing_is_held(health)


async def test_submit_rejected_answer_is_not_kept_in_the_session() -> None:
    async with opened({"a": in_turn(BAD)}, settings_of("reject")) as orchestrator:
        session_id = await orchestrator.sessions.create(tenant="default")
        with pytest.raises(OutputRejectedError):
            await orchestrator.submit(ask(session_id=session_id))
        session = await orchestrator.sessions.open(session_id, tenant="default")

    assert session.messages == ()


async def test_submit_deadline_that_passes_during_the_repair_ends_the_request_and_leaves_nothing() -> None:
    async with opened({"a": in_turn(BAD, delay_s=3.0)}, settings_of()) as orchestrator:
        with pytest.raises(TimeoutError, match="deadline of 5 s"):
            await orchestrator.submit(ask(timeout_s=5.0))
        await anyio.sleep(10)
        health = orchestrator.health()

    assert health.output is not None
    assert (health.output.answers, health.output.abandoned) == (1, 1)
    assert_nothing_is_held(health)


@pytest.mark.parametrize("no_cache", [True, False])
async def test_submit_cancelled_at_every_checkpoint_around_the_repair_leaves_nothing_behind(no_cache: bool) -> None:
    async with opened({"a": in_turn(BAD)}, settings_of()) as orchestrator:

        async def scenario() -> None:
            with pytest.raises(OutputRejectedError):
                await orchestrator.submit(ask(no_cache=no_cache))

        async def check() -> None:
            await anyio.sleep(100)
            assert_nothing_is_held(orchestrator.health())

        checkpoints = await sweep_cancellation(scenario, check)
        health = orchestrator.health()

    assert checkpoints >= 1
    assert health.output is not None
    assert health.output.abandoned >= no_cache  # a flight that nobody waits for may end before its first answer


async def test_submit_while_the_wall_clock_steps_back_by_an_hour_is_mended_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import time  # noqa: PLC0415 - patched here only

    now_s = time.time()
    steps: Callable[[], float] = iter([now_s, *(now_s - 3600 for _ in range(10_000))]).__next__
    monkeypatch.setattr(time, "time", steps)
    async with opened({"a": in_turn(BAD, GOOD)}, settings_of()) as orchestrator:
        reply = await orchestrator.submit(ask())

    assert (reply.text, reply.attempts) == (GOOD, 2)
    assert reply.backend_s == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("validator", "message"),
    [
        ({"kind": "required_fields", "fields": []}, r"^validators\.v\.fields: name at least one field$"),
        ({"kind": "pattern"}, r"^validators\.v: give must_match, must_not_match or both$"),
        ({"kind": "pattern", "must_match": "("}, r"^validators\.v\.must_match: '\(' is no valid pattern"),
        (
            {"kind": "json_schema", "json_schema": {"properties": {"a": {"type": "text"}}}},
            r"^validators\.v\.json_schema\.properties\.a\.type: is not as draft 2020-12 wants it",
        ),
        (
            {"kind": "json_schema", "json_schema": {"$ref": "https://schemas.invalid/x"}},
            r"^validators\.v\.json_schema: refers to 'https://schemas\.invalid/x', which is not in it; nothing",
        ),
    ],
)
async def test_validator_that_could_not_work_is_refused_at_start(validator: dict[str, Any], message: str) -> None:
    settings = Settings.model_validate({"validators": {"v": validator}})

    with pytest.raises(ConfigurationError, match=message):
        async with opened({"a": in_turn(GOOD)}, settings):
            pytest.fail("opened")


async def test_health_where_there_are_no_validators_has_no_output() -> None:
    async with opened({"a": in_turn(UGLY)}, Settings()) as orchestrator:
        reply = await orchestrator.submit(ask())

        assert (reply.text, reply.marks) == (UGLY, ())
        assert orchestrator.health().output is None


async def test_schema_given_as_json_in_the_environment_is_taken(
    tmp_path: Any,  # noqa: ANN401 - a path
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from holdfast.application.settings_sources import load_settings  # noqa: PLC0415 - of this test only

    schema = {"type": "object", "additionalProperties": True}
    given = {"v": {"kind": "json_schema", "json_schema": schema, "action": "mark"}}
    monkeypatch.setenv("HOLDFAST_VALIDATORS", json.dumps(given))

    settings = load_settings(tmp_path).settings

    assert settings.validators["v"].model_dump() == {
        "kind": "json_schema",
        "json_schema": schema,
        "action": "mark",
        "max_chars": 100_000,
    }
