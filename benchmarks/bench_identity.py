"""What authentication costs a message, and what those who begin and never end take in memory.

The rows about a megabyte that somebody forged compare two ways to sign JSON: the bytes that travel, and a canonical
form of what they say, which has to be read and written anew before it is known that nothing of it can be believed.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from harness import Row, measure, report

from holdfast.adapters.identity import Ed25519Signer, Ed25519Verifier
from holdfast.adapters.system.clock import SystemClock
from holdfast.domain.authentication_config import AuthenticationConfig
from holdfast.domain.channel import ChannelTable
from holdfast.domain.envelope import Direction, Envelope, SealedEnvelope, seal
from holdfast.domain.handshake import Initiator, Responder
from holdfast.domain.replay import ReplayCache
from holdfast.ports.errors import AuthenticationError
from holdfast.ports.identity import TrustRecord

_CONFIG: Final = AuthenticationConfig(audience="holdfast.example", max_sessions=1_000_000)
_ALICE: Final = Ed25519Signer.generate()
_SERVICE: Final = Ed25519Signer.generate()
_ASKS: Final = TrustRecord(did=_ALICE.did, roles=frozenset({"asks"}))
_ANSWERS: Final = TrustRecord(did=_SERVICE.did, roles=frozenset({"answers"}))
_MANY: Final = 10_000
_BODY: Final = {"messages": [{"role": "user", "content": "what is the answer? " * 100}]}


def _responder() -> Responder:
    channels = ChannelTable(max_sessions=_CONFIG.max_sessions, session_s=_CONFIG.session_s)
    return Responder(
        _CONFIG,
        signer=_SERVICE,
        verifier=Ed25519Verifier(),
        channels=channels,
        clock=SystemClock(),
        unix_s=time.time,
        make_bytes=secrets.token_bytes,
    )


def _initiator() -> Initiator:
    return Initiator(
        replace(_CONFIG, roles=("answers",)),
        signer=_ALICE,
        verifier=Ed25519Verifier(),
        clock=SystemClock(),
        unix_s=time.time,
        make_bytes=secrets.token_bytes,
    )


def _envelope() -> Envelope:
    now_ms = int(time.time() * 1000)
    return Envelope(
        sender=_ALICE.did,
        to=_SERVICE.did,
        session="0" * 64,
        direction=Direction.TO_RESPONDER,
        seq=0,
        issued_ms=now_ms,
        expires_ms=now_ms + 30_000,
        id="q",
        type="ask",
        body=_BODY,
        final=True,
    )


def _handshake_rows() -> list[Row]:
    responder = _responder()
    hello = _initiator().hello

    def handshake() -> None:
        initiator = _initiator()
        proof, _ = initiator.prove(responder.challenge(initiator.hello, _ASKS, binding=b""), _ANSWERS)
        responder.accept(proof, _ASKS, binding=b"")

    def refuse() -> None:
        try:
            responder.challenge(hello, None, binding=b"")
        except AuthenticationError:
            return

    return [
        measure("handshake, both sides", handshake, calls=100),
        measure("challenge to one hello", lambda: responder.challenge(hello, _ASKS, binding=b""), calls=300),
        measure("refusal of an unknown sender", refuse),
    ]


def _envelope_rows() -> list[Row]:
    verifier = Ed25519Verifier()
    envelope = _envelope()
    frame = seal(envelope, _ALICE)
    turns = [{"role": "user", "content": f"{number}"} for number in range(28_000)]
    forged = seal(replace(envelope, body={"messages": turns}), _SERVICE)
    payload = forged[124:]

    def refuse() -> None:
        try:
            SealedEnvelope.read(forged).open(verifier)
        except AuthenticationError:
            return

    def refuse_canonical() -> None:
        canonical = json.dumps(json.loads(payload), sort_keys=True, separators=(",", ":")).encode()
        verifier.verify(_ALICE.did, canonical, forged[60:124])

    return [
        measure("seal 2 KB", lambda: seal(envelope, _ALICE), calls=300),
        measure("open 2 KB", lambda: SealedEnvelope.read(frame).open(verifier), calls=300),
        measure(f"refuse a forged {len(payload) / 1e6:.1f} MB, bytes signed", refuse, calls=20),
        measure(f"refuse a forged {len(payload) / 1e6:.1f} MB, canonical form signed", refuse_canonical, calls=20),
    ]


def _bytes_kept(fill: Callable[[], object]) -> int:
    tracemalloc.start()
    kept = fill()
    size_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    return size_bytes


def _half_open() -> Responder:
    responder = _responder()
    for _ in range(_MANY):
        responder.challenge(_initiator().hello, _ASKS, binding=b"")
    return responder


def _remembered() -> ReplayCache:
    cache = ReplayCache(max_entries=_MANY, lifetime_ms=35_000, skew_ms=5_000, opened_ms=0)
    for number in range(_MANY):
        cache.remember(secrets.token_bytes(32), issued_ms=6_000 + number)
    return cache


def main() -> bool:
    """Print the tables; return whether all budgets are kept, of which there are none here."""
    ok = report("identity", [*_handshake_rows(), *_envelope_rows()], packages=("anyio", "cryptography"))
    for what, fill in (("half-open handshakes", _half_open), ("messages remembered", _remembered)):
        print(f"{_MANY} {what}: {_bytes_kept(fill):,} bytes")
    return ok


if __name__ == "__main__":
    sys.exit(not main())
