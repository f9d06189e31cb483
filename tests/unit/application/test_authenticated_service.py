"""Nothing unsigned or untrusted reaches the application."""

from __future__ import annotations

import json
import traceback
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import anyio
import pytest

from holdfast.application.authenticated_service import AuthenticatedService, Identity
from holdfast.application.signed_body import read_question
from holdfast.domain.envelope import Direction, Envelope, seal
from holdfast.domain.signed_fields import Purpose, signed_fields
from holdfast.domain.trust import revoke_trust
from holdfast.ports.authentication import Disbelief
from holdfast.ports.did import Did
from holdfast.ports.errors import (
    AuthenticationError,
    BackendUnavailableError,
    BackpressureError,
    ClosedError,
    RequestError,
    TrustStoreError,
)
from holdfast.ports.events import EnvelopeRefused, HandshakeCompleted, HandshakeRefused
from holdfast.ports.identity import TrustRecord
from holdfast.ports.service import Priority
from holdfast.testing import sweep_cancellation
from holdfast.testing.identity import ForgeableVerifier
from tests.fakes.events import Listener
from tests.fakes.identity import ALICE, BODY, CONFIG, MALLORY, SERVICE, STRANGER, World, make_counted_bytes, trusted
from tests.fakes.service import Answering, assert_nothing_is_held, opened

pytestmark = pytest.mark.anyio


async def refusal(world: World, message: bytes, *, binding: bytes = b"") -> Disbelief:
    with pytest.raises(AuthenticationError) as caught:
        await world.service.handle(message, channel_binding=binding)
    return caught.value.reason


def signed(world: World, **changes: object) -> bytes:
    return seal(world.envelope(**changes), ALICE)


def attacks(world: World) -> dict[str, tuple[bytes, Disbelief]]:
    """Return every message that must not get through, by what is wrong with it."""
    good = signed(world)
    payload = good[124:]

    def framed(content: bytes, purpose: Purpose = Purpose.ENVELOPE) -> bytes:
        did = ALICE.did.encode()
        return b"HFE1" + did + ALICE.sign(signed_fields(purpose, b"HFE1", did, content)) + content

    twice = payload[:-1] + b',"body":{}}'
    alg = json.dumps({**json.loads(payload), "alg": "none"}).encode()
    return {
        "nothing": (b"", Disbelief.SIZE),
        "plain request": (json.dumps(BODY).encode(), Disbelief.SIZE),
        "long plain request": (json.dumps(BODY).encode() * 4, Disbelief.SYNTAX),
        "header only": (good[:124], Disbelief.SIZE),
        "stripped signature": (good[:60] + payload, Disbelief.SIGNATURE),
        "empty signature": (good[:60] + bytes(64) + payload, Disbelief.SIGNATURE),
        "signature of another": (seal(world.envelope(), MALLORY), Disbelief.SIGNATURE),
        "another sender": (good[:4] + MALLORY.did.encode() + good[60:], Disbelief.SIGNATURE),
        "alias of the DID": (good[:4] + ALICE.did.upper().encode() + good[60:], Disbelief.IDENTITY),
        "stranger": (seal(world.envelope(sender=STRANGER.did), STRANGER), Disbelief.TRUST),
        "the service itself": (seal(world.envelope(sender=SERVICE.did), SERVICE), Disbelief.TRUST),
        "oversize": (good + b" " * CONFIG.max_message_bytes, Disbelief.SIZE),
        "wrong audience": (signed(world, to=MALLORY.did), Disbelief.ADDRESS),
        "reflection": (signed(world, direction=Direction.TO_INITIATOR), Disbelief.ADDRESS),
        "unknown session": (signed(world, session="0" * 64, seq=0), Disbelief.ADDRESS),
        "expired": (signed(world, issued_ms=0, expires_ms=30_000), Disbelief.FRESHNESS),
        "from the future": (signed(world, issued_ms=2**52, expires_ms=2**52 + 1), Disbelief.FRESHNESS),
        "alg none": (framed(alg), Disbelief.SYNTAX),
        "duplicate keys": (framed(twice), Disbelief.SYNTAX),
        "signed, no JSON": (framed(b"[" * 100), Disbelief.SYNTAX),
        "signed as a file": (framed(payload, Purpose.FILE), Disbelief.SIGNATURE),
        "signed as an initiator": (framed(payload, Purpose.INITIATOR), Disbelief.SIGNATURE),
        "hello of a stranger": (b"HFH1" + STRANGER.did.encode() + bytes(40) + b"holdfast.example", Disbelief.TRUST),
        "stale hello": (b"HFH1" + ALICE.did.encode() + bytes(40) + b"holdfast.example", Disbelief.FRESHNESS),
        "proof of nothing": (
            b"HFP1" + bytes(128) + b"HFH1" + ALICE.did.encode() + bytes(40) + b"holdfast.example",
            Disbelief.FRESHNESS,
        ),
    }


NAMES = list(attacks(World()))


@pytest.mark.parametrize("name", NAMES)
async def test_handle_attack_is_refused_with_the_same_words_and_changes_nothing(name: str) -> None:
    world = World()
    message, reason = attacks(world)[name]
    before = world.service.statistics()

    with pytest.raises(AuthenticationError) as caught:
        await world.service.handle(message)

    after = world.service.statistics()
    assert caught.value.reason is reason
    assert str(caught.value) == str(AuthenticationError(Disbelief.TRUST))
    assert world.answers.requests == []
    assert after == replace(before, received=1, refused={**before.refused, reason: 1})
    assert (await world.client().ask(BODY)).type == "reply"


async def test_handle_attack_tells_nothing_in_the_traceback_that_the_sender_could_be_shown() -> None:
    world = World()
    shown = set[str]()
    for message, _ in attacks(world).values():
        with pytest.raises(AuthenticationError) as caught:
            await world.service.handle(message)
        shown.add("".join(traceback.format_exception_only(caught.value)))

    assert len(shown) == 1


async def test_submit_of_a_real_orchestrator_is_reached_by_nothing_but_what_a_trusted_identity_signed() -> None:
    backend = Answering()
    async with opened({"a": backend}) as orchestrator:
        world = World(service=orchestrator)
        for message, reason in attacks(world).values():
            assert await refusal(world, message) is reason
        health = orchestrator.health()
        unreached = health.requests.received, health.admission.granted, len(backend.prompts)
        answer = await world.client().ask(BODY)
        session = await world.client().connect()
        within = await session.ask({**BODY, "no_cache": True})
        reached = orchestrator.health()

    assert unreached == (0, 0, 0)
    assert (answer.type, answer.body["text"]) == ("reply", "42")
    assert (within.type, within.body["text"]) == ("reply", "42")
    assert (reached.requests.received, len(backend.prompts)) == (2, 2)
    assert_nothing_is_held(reached)


async def test_handle_question_reaches_the_service_with_its_sender_as_the_tenant() -> None:
    world = World()
    body = {
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "why?"}],
        "model": "m",
        "parameters": {"temperature": 0.5, "max_tokens": 7, "stop": ["."], "response_format": "json"},
        "priority": "high",
        "timeout_s": 2.5,
        "session_id": "s",
        "persona": "expert",
        "idempotent": False,
        "no_cache": True,
    }
    answer = await world.client().ask(body)
    (request,) = world.answers.requests

    assert (request.tenant, request.request_id) == (ALICE.did, answer.id)
    assert [(message.role, message.content) for message in request.messages] == [
        ("system", "be brief"),
        ("user", "why?"),
    ]
    assert (request.parameters.temperature, request.parameters.stop) == (0.5, (".",))
    assert (request.priority, request.timeout_s, request.session_id) == (Priority.HIGH, 2.5, "s")
    assert (request.model, request.persona, request.idempotent, request.no_cache) == ("m", "expert", False, True)
    assert (answer.type, answer.final, answer.body["request_id"]) == ("reply", True, answer.id)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "body.messages"),
        ({"messages": []}, "body.messages"),
        ({"messages": [{"role": "tool", "content": ""}]}, "body.messages.0.role"),
        ({**BODY, "tenant": "somebody else"}, "body.tenant"),
        ({**BODY, "timeout_s": "5"}, "body.timeout_s"),
        ({**BODY, "timeout_s": 0}, "body.timeout_s"),
        ({**BODY, "idempotent": 1}, "body.idempotent"),
        ({**BODY, "parameters": {"seed": 1.5}}, "body.parameters.seed"),
        ({**BODY, "x" * 1000: 1}, "body.xxx"),
    ],
)
async def test_handle_body_that_is_no_request_is_answered_with_a_signed_failure(
    body: Mapping[str, Any], words: str
) -> None:
    world = World()
    answer = await world.client().ask(body)

    assert (answer.type, answer.body["error"], answer.final) == ("failure", "RequestError", True)
    assert str(answer.body["message"]).startswith(words)
    assert len(str(answer.body["message"])) < 250
    assert world.answers.requests == []


@pytest.mark.parametrize(
    "body", [{"messages": [0] * 50_000}, {**BODY, "parameters": {"stop": [0] * 50_000}}], ids=["messages", "stop"]
)
def test_question_that_is_wrong_in_very_many_places_is_refused_in_little_memory(body: Mapping[str, Any]) -> None:
    envelope = World().envelope(body=body)
    tracemalloc.start()
    try:
        with pytest.raises(RequestError, match=r"^body\..*\.0: "):
            read_question(envelope)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 1_000_000


async def test_handle_message_of_another_type_is_answered_with_a_failure() -> None:
    world = World()
    answer = await world.service.handle(signed(world, type="reply"))

    assert b"RequestError" in answer
    assert world.answers.requests == []


@pytest.mark.parametrize(
    ("failure", "message", "retry_after_s"),
    [
        (BackpressureError(reason="it is full", depth=1, capacity=1, retry_after_s=2.5), None, 2.5),
        (RequestError("is empty"), "is empty", None),
        (ClosedError("the orchestrator"), None, None),
        (BackendUnavailableError("at 10.0.0.7", backend="secret-host"), None, None),
    ],
)
async def test_handle_failure_of_the_service_tells_its_kind_and_when_to_come_back(
    failure: Exception, message: str | None, retry_after_s: float | None
) -> None:
    world = World()
    world.answers.failure = failure
    answer = await world.client().ask(BODY)

    assert (answer.type, dict(answer.body)) == (
        "failure",
        {"error": type(failure).__name__, "message": message, "retry_after_s": retry_after_s},
    )


async def test_handle_error_that_is_none_of_holdfasts_passes_through() -> None:
    world = World()
    world.answers.failure = ZeroDivisionError()

    with pytest.raises(ZeroDivisionError):
        await world.client().ask(BODY)


@pytest.mark.parametrize("in_session", [False, True])
async def test_handle_the_same_message_again_is_refused_and_asks_nothing(in_session: bool) -> None:
    world = World()
    session = await world.client().connect() if in_session else world.client()
    await session.ask(BODY)

    for seconds in (0.0, 1.0, 34.0, 3600.0):
        world.wall.advance(seconds)
        assert await refusal(world, world.sent[-1]) in {Disbelief.FRESHNESS, Disbelief.ADDRESS}
    world.wall.set_by(-3636.0)
    assert await refusal(world, world.sent[-1]) in {Disbelief.FRESHNESS, Disbelief.ADDRESS}
    assert len(world.answers.requests) == 1


@pytest.mark.parametrize("in_session", [False, True])
async def test_handle_everything_again_after_a_restart_is_refused_and_asks_nothing(in_session: bool) -> None:
    world = World()
    session = await world.client().connect() if in_session else world.client()
    await session.ask(BODY)
    world.wall.advance(0.001)
    restarted = World(wall=world.wall, salt=9, open_for_s=0.0)

    for _ in range(4):
        for message in (message for message in world.sent if not message.startswith(b"HFH1")):
            assert await refusal(restarted, message) in {Disbelief.FRESHNESS, Disbelief.ADDRESS}
        world.wall.advance(10.0)
    assert restarted.answers.requests == []
    assert restarted.service.statistics().sessions == 0


async def test_handle_answers_sent_back_to_the_service_are_refused() -> None:
    world = World()
    await world.trust.change(lambda _: [trusted(SERVICE.did, "asks")])
    session = await world.client().connect()
    await session.ask(BODY)

    refusals = [await refusal(world, answer) for answer in world.answered]

    assert len(refusals) == 3
    assert set(refusals) <= {Disbelief.ADDRESS, Disbelief.SYNTAX}


async def test_handle_revoked_identity_is_refused_at_once_in_its_session_too() -> None:
    world = World()
    session = await world.client().connect()
    await session.ask(BODY)
    await world.trust.change(revoke_trust(ALICE.did))

    for ask in (session.ask, world.client().ask):
        with pytest.raises(AuthenticationError) as caught:
            await ask(BODY)
        assert caught.value.reason is Disbelief.TRUST
    assert len(world.answers.requests) == 1


async def test_handle_session_of_another_is_refused() -> None:
    world = World()
    await (await world.client().connect()).ask(BODY)
    theirs = world.service.statistics()
    answered = json.loads(world.answered[-1][124:])
    stolen = world.envelope(sender=MALLORY.did, session=answered["session"], seq=1)

    assert await refusal(world, seal(stolen, MALLORY)) is Disbelief.ADDRESS
    assert world.service.statistics().sessions == theirs.sessions


async def test_handle_session_on_another_channel_is_refused() -> None:
    world = World()
    session = await world.client(binding=b"one").connect()
    await session.ask(BODY)
    with pytest.raises(AuthenticationError):
        await world.client(binding=b"two")._send(world.sent[-1])  # what a thief of the message does

    assert len(world.answers.requests) == 1


async def test_stream_gives_pieces_and_at_last_the_reply_which_alone_is_final() -> None:
    world = World()
    client = world.client()
    session_less = client.question(BODY)
    answers: list[Envelope] = []

    async def deliver(message: bytes) -> None:
        answers.append(await client.read_answer(message, session_less))

    await world.service.stream(session_less.message, deliver)

    assert [(answer.type, answer.body.get("text"), answer.final) for answer in answers] == [
        ("piece", "4", False),
        ("piece", "2", False),
        ("reply", "42", True),
    ]


async def test_stream_that_fails_ends_with_a_final_failure() -> None:
    world = World()
    world.answers.failure = BackendUnavailableError("is down", backend="a")
    client = world.client()
    question = client.question(BODY)
    answers: list[bytes] = []

    async def deliver(message: bytes) -> None:
        answers.append(message)

    await world.service.stream(question.message, deliver)
    last = await client.read_answer(answers[-1], question)

    assert [json.loads(answer[124:])["final"] for answer in answers] == [False, False, True]
    assert (last.type, last.body["error"]) == ("failure", "BackendUnavailableError")


async def test_stream_of_a_handshake_and_of_a_bad_body_is_one_answer() -> None:
    world = World()
    answers: list[bytes] = []

    async def deliver(message: bytes) -> None:
        answers.append(message)

    await world.client().connect()
    await world.service.stream(world.sent[0], deliver)
    await world.service.stream(signed(world, body={}), deliver)

    assert answers[0].startswith(b"HFC1")
    assert b'"failure"' in answers[1]
    assert len(answers) == 2


@pytest.mark.parametrize("error", [ZeroDivisionError, lambda: ClosedError("the connection")])
async def test_stream_that_cannot_be_delivered_raises_what_deliver_raised(
    error: Callable[[], Exception],
) -> None:
    world = World()
    raised: list[Exception] = []

    async def deliver(_: bytes) -> None:
        raised.append(error())
        raise raised[-1]

    with pytest.raises((ZeroDivisionError, ClosedError)) as caught:
        await world.service.stream(world.client().question(BODY).message, deliver)

    assert raised == [caught.value]


async def test_stream_attack_is_refused_and_delivers_nothing() -> None:
    world = World()

    async def deliver(_: bytes) -> None:
        pytest.fail("something was delivered")

    for message, reason in attacks(world).values():
        with pytest.raises(AuthenticationError) as caught:
            await world.service.stream(message, deliver)
        assert caught.value.reason is reason
    assert world.answers.requests == []


async def test_events_tell_who_came_and_why_others_did_not() -> None:
    listener = Listener()
    world = World(events=listener)
    await world.client().connect()
    await refusal(world, b"HFH1")
    await refusal(world, b"HFP1")
    await refusal(world, b"HFE1")

    assert listener.heard == [
        HandshakeCompleted(peer=ALICE.did),
        HandshakeRefused(reason=Disbelief.SIZE),
        HandshakeRefused(reason=Disbelief.SIZE),
        EnvelopeRefused(reason=Disbelief.SIZE),
    ]


class Unreadable:
    """A trust list that cannot be read, once somebody has waited for it."""

    async def find(self, did: Did) -> TrustRecord | None:
        await anyio.sleep(1.0)
        raise TrustStoreError("cannot be read", path="trust.json")


async def test_handle_unreadable_trust_list_is_its_own_error_and_takes_nothing() -> None:
    world = World()
    service = blind(world)

    with pytest.raises(TrustStoreError):
        await service.handle(signed(world))

    statistics = service.statistics()
    assert (statistics.received, statistics.failed, statistics.in_check, statistics.remembered) == (1, 1, 0, 0)
    assert world.answers.requests == []


async def test_handle_cancelled_while_trust_is_looked_up_takes_nothing() -> None:
    world = World()
    service = blind(world)

    async def check() -> None:
        assert service.statistics().in_check == 0

    async def scenario() -> None:
        with pytest.raises(TrustStoreError):
            await service.handle(signed(world))

    assert await sweep_cancellation(scenario, check) >= 1
    statistics = service.statistics()
    assert statistics.received == statistics.failed
    assert world.answers.requests == []


async def test_statistics_add_up_while_messages_are_checked() -> None:
    world = World()
    service = blind(world)
    async with anyio.create_task_group() as tasks:

        async def ask() -> None:
            with pytest.raises(TrustStoreError):
                await service.handle(signed(world))

        for _ in range(3):
            tasks.start_soon(ask)
        await anyio.sleep(0.5)
        during = service.statistics()

    assert (during.received, during.in_check) == (3, 3)


async def test_handle_cancelled_at_every_checkpoint_leaves_nothing_held() -> None:
    async with opened({"a": Answering(delay_s=1.0)}) as orchestrator:
        world = World(service=orchestrator)

        async def scenario() -> None:
            session = await world.client().connect()
            await session.ask({**BODY, "no_cache": True})

        async def check() -> None:
            await anyio.wait_all_tasks_blocked()
            assert_nothing_is_held(orchestrator.health())
            assert world.service.statistics().in_check == 0

        assert await sweep_cancellation(scenario, check) >= 1


def blind(world: World) -> AuthenticatedService:
    """Return the world's service, with a trust list that cannot be read."""
    return AuthenticatedService(
        world.answers,
        Identity(signer=SERVICE, verifier=ForgeableVerifier(), trust=Unreadable()),
        CONFIG,
        clock=world.wall.clock,
        unix_s=world.wall.unix_s,
        make_bytes=make_counted_bytes(5),
    )
