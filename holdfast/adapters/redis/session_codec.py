"""How a conversation is written in Redis.

Responsibility: names, heads and turns as the scripts of `holdfast.adapters.redis.session_scripts` take and give them.
Guarantees: what is read is what was written, whatever bytes a text is made of; two sessions never share a name.
Not responsible for: asking Redis.

A turn is a line of its size, the number of its messages, and the role and length of each, and then their texts, so that
a script that drops it reads no more than the beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from holdfast.ports.inference import Role
from holdfast.ports.session import (
    Removal,
    RemovedSession,
    Session,
    SessionHead,
    SessionMessage,
    SessionTotals,
    SessionTurn,
)

__all__ = ["name_of", "persona_text", "read_removed", "read_session", "read_totals", "turn_bytes"]


def name_of(tenant: str, session_id: str) -> bytes:
    """Return what a session is called among those of all tenants."""
    owner = tenant.encode()
    return b"%d:%b:%b" % (len(owner), owner, session_id.encode())


def persona_text(persona: str | None) -> str:
    """Return a persona that can be told from none."""
    return "" if persona is None else f"+{persona}"


def turn_bytes(turn: SessionTurn) -> bytes:
    """Return a turn as it is written."""
    messages = turn.messages
    sizes = "".join(f" {message.role.value} {len(message.content_utf8)}" for message in messages)
    line = f"{turn.size_bytes} {len(messages)}{sizes}\n".encode()
    return line + b"".join(message.content_utf8 for message in messages)


def _read_turn(written: bytes) -> SessionTurn:
    line, texts = written.split(b"\n", 1)
    size_bytes, _, *sizes = line.decode().split(" ")
    messages: list[SessionMessage] = []
    at = 0
    for role, size in zip(sizes[::2], sizes[1::2], strict=True):
        messages.append(SessionMessage(role=Role(role), content_utf8=texts[at : at + int(size)]))
        at += int(size)
    return SessionTurn(messages=tuple(messages), size_bytes=int(size_bytes))


def read_totals(reply: Iterator[bytes]) -> SessionTotals:
    """Return the counts that come next."""
    sessions, size_bytes, created, expired, evicted, deleted = map(int, islice(reply, 6))
    return SessionTotals(
        sessions=sessions, size_bytes=size_bytes, created=created, expired=expired, evicted=evicted, deleted=deleted
    )


def read_removed(reply: Iterator[bytes]) -> tuple[RemovedSession, ...]:
    """Return which sessions had to go, as it says next."""
    return tuple(
        RemovedSession(
            session_id=_session_id(next(reply)),
            reason=Removal(next(reply).decode()),
            idle_s=int(next(reply)) / 1e6,
            size_bytes=int(next(reply)),
        )
        for _ in range(int(next(reply)))
    )


def read_session(reply: Iterator[bytes], tenant: str, session_id: str) -> Session:
    """Return the session that all the rest of it is."""
    incarnation, version, persona, fixed_bytes, size_bytes, has_system, system, *turns = reply
    head = SessionHead(
        tenant=tenant,
        session_id=session_id,
        incarnation=incarnation.decode(),
        version=int(version),
        persona=persona[1:].decode() if persona else None,
        fixed_bytes=int(fixed_bytes),
    )
    return Session(
        head=head,
        system=system if int(has_system) else None,
        turns=tuple(map(_read_turn, turns)),
        size_bytes=int(size_bytes),
    )


def _session_id(name: bytes) -> str:
    size, names = name.split(b":", 1)
    return names[int(size) + 1 :].decode()
