"""Two identities and what lies between them, under a test's control."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from holdfast.adapters.memory.trust import MemoryTrustList
from holdfast.application.authenticated_client import AuthenticatedClient
from holdfast.application.authenticated_service import AuthenticatedService, Identity
from holdfast.domain.authentication_config import AuthenticationConfig
from holdfast.domain.envelope import Direction, Envelope
from holdfast.ports.did import Did
from holdfast.ports.errors import RequestError
from holdfast.ports.events import EventSink
from holdfast.ports.identity import TrustRecord
from holdfast.ports.inference import Usage
from holdfast.ports.service import Disposition, Reply, ReplyStream, Request, Service
from holdfast.ports.session import Sessions
from holdfast.ports.statistics import Health
from holdfast.testing import ManualClock
from holdfast.testing.identity import ForgeableSigner, ForgeableVerifier

__all__ = [
    "ALICE",
    "BODY",
    "CONFIG",
    "MALLORY",
    "SERVICE",
    "STRANGER",
    "Answers",
    "Wall",
    "World",
    "envelope",
    "make_counted_bytes",
    "trusted",
]

ALICE = ForgeableSigner("alice")
"""May ask."""
MALLORY = ForgeableSigner("mallory")
"""May ask too, and is up to no good."""
SERVICE = ForgeableSigner("service")
"""Answers."""
STRANGER = ForgeableSigner("stranger")
"""Nobody knows them."""

CONFIG = AuthenticationConfig(audience="holdfast.example")
BODY = {"messages": [{"role": "user", "content": "what is the answer?"}]}


def trusted(did: Did, *roles: str) -> TrustRecord:
    return TrustRecord(did=did, roles=frozenset(roles))


class Wall:
    """A wall clock and a monotonic one that go together, until somebody sets the first."""

    def __init__(self, unix_s: float = 1_800_000_000.0) -> None:
        self.clock = ManualClock()
        self._now_s = unix_s

    def unix_s(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self._now_s += seconds

    def set_by(self, seconds: float) -> None:
        self._now_s += seconds


def make_counted_bytes(salt: int = 0) -> Callable[[int], bytes]:
    """Return a source of bytes that are never the same and always the same in each run."""
    numbers = itertools.count(salt * 1_000_000 + 1)
    return lambda length: next(numbers).to_bytes(length, "big")


class Answers:
    """A service that notes what reached it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.reply = Reply(
            text="42",
            backend="a",
            model="m",
            disposition=Disposition.CALLED,
            attempts=1,
            queue_s=0.0,
            backend_s=0.5,
            usage=Usage(),
            citations=(),
            request_id=None,
        )
        self.failure: Exception | None = None
        self.pieces = ("4", "2")

    async def submit(self, request: Request) -> Reply:
        self.requests.append(request)
        if self.failure is not None:
            raise self.failure
        return replace(self.reply, request_id=request.request_id)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[ReplyStream]:
        self.requests.append(request)
        yield _Pieces(self, request)

    @property
    def sessions(self) -> Sessions:
        raise RequestError("nobody asks for them")

    def health(self) -> Health:
        raise RequestError("nobody asks for it")

    async def drain(self, timeout_s: float) -> None:
        """Do nothing: nothing runs."""


class _Pieces:
    def __init__(self, answers: Answers, request: Request) -> None:
        self._answers = answers
        self._request = request
        self._left = iter(answers.pieces)

    def __aiter__(self) -> _Pieces:
        return self

    async def __anext__(self) -> str:
        for piece in self._left:
            return piece
        if self._answers.failure is not None:
            raise self._answers.failure
        raise StopAsyncIteration

    async def reply(self) -> Reply:
        return replace(self._answers.reply, request_id=self._request.request_id)


class World:
    """A service that has been open for a minute, its trust list, and clients of it."""

    def __init__(
        self,
        config: AuthenticationConfig = CONFIG,
        *,
        events: EventSink | None = None,
        wall: Wall | None = None,
        service: Service | None = None,
        salt: int = 0,
        open_for_s: float = 60.0,
    ) -> None:
        self.wall = wall or Wall()
        self.answers = Answers()
        self.config = config
        self.trust = MemoryTrustList([trusted(ALICE.did, "asks"), trusted(MALLORY.did, "asks")])
        self.service = AuthenticatedService(
            service or self.answers,
            Identity(signer=SERVICE, verifier=ForgeableVerifier(), trust=self.trust),
            config,
            clock=self.wall.clock,
            unix_s=self.wall.unix_s,
            make_bytes=make_counted_bytes(salt),
            events=events,
        )
        self.sent: list[bytes] = []
        self.answered: list[bytes] = []
        self._bytes = make_counted_bytes(salt + 1)
        self.wall.advance(open_for_s)

    def client(self, signer: ForgeableSigner = ALICE, *, binding: bytes = b"") -> AuthenticatedClient:
        return AuthenticatedClient(
            Identity(
                signer=signer, verifier=ForgeableVerifier(), trust=MemoryTrustList([trusted(SERVICE.did, "answers")])
            ),
            replace(self.config, roles=("answers",)),
            service=SERVICE.did,
            send=lambda message: self.send(message, binding=binding),
            clock=self.wall.clock,
            unix_s=self.wall.unix_s,
            make_bytes=self._bytes,
            channel_binding=binding,
        )

    async def send(self, message: bytes, *, binding: bytes = b"") -> bytes:
        self.sent.append(message)
        answer = await self.service.handle(message, channel_binding=binding)
        self.answered.append(answer)
        return answer

    def envelope(self, **changes: object) -> Envelope:
        return envelope(self.wall, **changes)


def envelope(wall: Wall, **changes: object) -> Envelope:
    """Return a good question of Alice's outside a session, but for `changes`."""
    issued_ms = int(wall.unix_s() * 1000)
    good = Envelope(
        sender=ALICE.did,
        to=SERVICE.did,
        session=None,
        direction=Direction.TO_RESPONDER,
        seq=None,
        issued_ms=issued_ms,
        expires_ms=issued_ms + 30_000,
        id="q-1",
        type="ask",
        body=BODY,
        final=True,
    )
    return replace(good, **changes)  # type: ignore[arg-type] # the test says which


_: type[Service] = Answers
