"""Which answers are believed by whoever asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio
import pytest

from holdfast.adapters.memory.trust import MemoryTrustList
from holdfast.application.authenticated_client import AuthenticatedClient, AuthenticatedSession
from holdfast.application.authenticated_service import Identity
from holdfast.domain.envelope import Direction, Envelope, SealedEnvelope, seal
from holdfast.ports.authentication import Disbelief
from holdfast.ports.errors import AuthenticationError, ClosedError
from holdfast.ports.identity import TrustRecord
from holdfast.testing import ForgeableSigner, sweep_cancellation
from holdfast.testing.identity import ForgeableVerifier
from tests.fakes.identity import ALICE, BODY, CONFIG, MALLORY, SERVICE, World, make_counted_bytes, trusted

pytestmark = pytest.mark.anyio

Change = Callable[[Envelope], Envelope]


def client_of(
    world: World,
    change: Callable[[bytes], bytes] = lambda answer: answer,
    *,
    record: TrustRecord | None = None,
    send: Callable[[bytes], Awaitable[bytes]] | None = None,
) -> AuthenticatedClient:
    """Return Alice's client, whose answers somebody changes on the way."""

    async def changed(message: bytes) -> bytes:
        return change(await world.send(message))

    trust = MemoryTrustList([record or trusted(SERVICE.did, "answers"), trusted(MALLORY.did, "answers")])
    return AuthenticatedClient(
        Identity(signer=ALICE, verifier=ForgeableVerifier(), trust=trust),
        replace(CONFIG, roles=("answers",)),
        service=SERVICE.did,
        send=send or changed,
        clock=world.wall.clock,
        unix_s=world.wall.unix_s,
        make_bytes=make_counted_bytes(3),
    )


def resealed(change: Change, signer: ForgeableSigner = SERVICE) -> Callable[[bytes], bytes]:
    """Return what changes an answer and signs it again."""
    return lambda answer: seal(change(SealedEnvelope.read(answer).open(ForgeableVerifier())), signer)


async def reason_of(ask: Awaitable[object]) -> Disbelief:
    with pytest.raises(AuthenticationError) as caught:
        await ask
    return caught.value.reason


@pytest.mark.parametrize(
    ("change", "signer", "reason"),
    [
        (lambda answer: replace(answer, id="another"), SERVICE, Disbelief.ADDRESS),
        (lambda answer: replace(answer, to=MALLORY.did), SERVICE, Disbelief.ADDRESS),
        (lambda answer: replace(answer, direction=Direction.TO_RESPONDER), SERVICE, Disbelief.ADDRESS),
        (lambda answer: replace(answer, session="0" * 64), SERVICE, Disbelief.ADDRESS),
        (lambda answer: replace(answer, final=False), SERVICE, Disbelief.ADDRESS),
        (lambda answer: replace(answer, sender=MALLORY.did), MALLORY, Disbelief.ADDRESS),
        (lambda answer: replace(answer, sender=ALICE.did, to=ALICE.did), ALICE, Disbelief.ADDRESS),
        (lambda answer: answer, MALLORY, Disbelief.SIGNATURE),
        (
            lambda answer: replace(answer, issued_ms=answer.issued_ms - 40_000, expires_ms=answer.issued_ms - 10_000),
            SERVICE,
            Disbelief.FRESHNESS,
        ),
    ],
    ids=["id", "to", "direction", "session", "not final", "of another", "own", "signed by another", "old"],
)
async def test_ask_answer_that_is_not_the_services_to_this_question_is_refused(
    change: Change, signer: ForgeableSigner, reason: Disbelief
) -> None:
    assert await reason_of(client_of(World(), resealed(change, signer)).ask(BODY)) is reason


@pytest.mark.parametrize(
    "record",
    [trusted(SERVICE.did, "asks"), replace(trusted(SERVICE.did, "answers"), revoked=True)],
    ids=["another role", "revoked"],
)
async def test_ask_and_connect_service_that_is_not_trusted_is_refused(record: TrustRecord) -> None:
    world = World()

    assert await reason_of(client_of(world, record=record).ask(BODY)) is Disbelief.TRUST
    assert await reason_of(client_of(world, record=record).connect()) is Disbelief.TRUST


async def test_ask_answer_too_long_is_refused() -> None:
    padded = client_of(World(), lambda answer: answer + b" " * CONFIG.max_message_bytes)

    assert await reason_of(padded.ask(BODY)) is Disbelief.SIZE


async def test_ask_answer_to_an_earlier_question_is_refused() -> None:
    world = World()
    await client_of(world).ask(BODY)
    first = world.answered[-1]

    assert await reason_of(world.client().read_answer(first, world.client().question(BODY))) is Disbelief.ADDRESS


async def test_connect_challenge_of_another_who_is_trusted_is_refused() -> None:
    world = World()
    misled = client_of(world, lambda answer: answer[:4] + MALLORY.did.encode() + answer[60:])

    assert await reason_of(misled.connect()) is Disbelief.ADDRESS


async def test_connect_welcome_of_another_type_is_refused() -> None:
    world = World()

    def change(answer: bytes) -> bytes:
        if answer.startswith(b"HFC1"):
            return answer
        return resealed(lambda welcome: replace(welcome, type="reply"))(answer)

    assert await reason_of(client_of(world, change).connect()) is Disbelief.ADDRESS


async def test_session_answers_out_of_order_or_twice_are_refused_and_end_it() -> None:
    world = World()
    session = await client_of(world, lambda answer: world.answered[1] if len(world.answered) > 2 else answer).connect()

    assert await reason_of(session.ask(BODY)) is Disbelief.ADDRESS
    with pytest.raises(ClosedError):
        await session.ask(BODY)


async def test_session_answer_that_was_left_out_is_noticed() -> None:
    world = World()

    async def send(message: bytes) -> bytes:
        answer = await world.send(message)
        if len(world.sent) == 3:  # somebody on the way asks for the number of the next answer
            skipped = SealedEnvelope.read(answer).open(ForgeableVerifier())
            assert skipped.seq is not None
            return seal(replace(skipped, seq=skipped.seq + 1), SERVICE)
        return answer

    session = await client_of(world, send=send).connect()

    assert await reason_of(session.ask(BODY)) is Disbelief.FRESHNESS


async def test_session_questions_at_once_are_asked_one_after_the_other() -> None:
    world = World()

    async def send(message: bytes) -> bytes:
        await anyio.sleep(1.0)
        return await world.send(message)

    session = await client_of(world, send=send).connect()
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(session.ask, BODY)

    assert len(world.answers.requests) == 5


async def test_session_of_which_an_answer_was_lost_is_over() -> None:
    world = World()
    lost = False

    async def send(message: bytes) -> bytes:
        answer = await world.send(message)
        if lost:
            raise ConnectionResetError
        return answer

    session = await client_of(world, send=send).connect()
    lost = True
    with pytest.raises(ConnectionResetError):
        await session.ask(BODY)
    lost = False

    with pytest.raises(ClosedError, match="open a new one"):
        await session.ask(BODY)


async def test_session_cancelled_while_asking_is_over_and_while_waiting_goes_on() -> None:
    world = World()
    sessions: list[AuthenticatedSession] = []

    async def send(message: bytes) -> bytes:
        await anyio.sleep(1.0)
        return await world.send(message)

    async def scenario() -> None:
        sessions.append(await client_of(world, send=send).connect())
        await sessions[-1].ask(BODY)

    async def check() -> None:
        if len(sessions) > 1 and sessions[-1] is not sessions[-2]:
            with pytest.raises(ClosedError):
                await sessions[-2].ask(BODY)

    assert await sweep_cancellation(scenario, check) >= 3
    assert (await sessions[-1].ask(BODY)).type == "reply"
    with anyio.move_on_after(0.5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sessions[-1].ask, BODY)
    with pytest.raises(ClosedError):
        await sessions[-1].ask(BODY)
