from __future__ import annotations

import pytest

from holdfast.ports.inference import Message, Role
from holdfast.ports.session import MOST_EXPIRED_AT_ONCE, Removal, SessionBounds, SessionMessage

BOUNDS = SessionBounds(max_bytes=100, max_total_bytes=1000, max_sessions=10, idle_s=60.0)


@pytest.mark.parametrize("content", ["", "plain", "Grüße \N{GRINNING FACE}", "\ud800\0"])
def test_message_that_was_kept_is_the_same(content: str) -> None:
    message = Message(role=Role.ASSISTANT, content=content)

    assert SessionMessage.of(message).message == message


@pytest.mark.parametrize(("idle_s", "expired"), [(0.0, False), (60.0, False), (60.1, True)])
def test_session_expires_once_it_was_idle_for_longer_than_allowed(idle_s: float, expired: bool) -> None:
    assert BOUNDS.has_expired(idle_s) is expired


@pytest.mark.parametrize(
    ("idle_s", "sessions", "size_bytes", "removed", "reason"),
    [
        (1.0, 10, 1000, 0, None),
        (1.0, 11, 1000, 0, Removal.EVICTED),
        (1.0, 10, 1001, 0, Removal.EVICTED),
        (61.0, 11, 1000, 0, Removal.EXPIRED),
        (61.0, 10, 1001, 0, Removal.EXPIRED),
        (61.0, 1, 1, 0, Removal.EXPIRED),
        (61.0, 1, 1, MOST_EXPIRED_AT_ONCE - 1, Removal.EXPIRED),
        (61.0, 1, 1, MOST_EXPIRED_AT_ONCE, None),
        (61.0, 11, 1, MOST_EXPIRED_AT_ONCE, Removal.EXPIRED),
        (1.0, 1, 1001, 0, None),
        (1.0, 2, 1001, 0, Removal.EVICTED),
    ],
)
def test_oldest_session_goes_for_want_of_room_or_for_its_age(
    idle_s: float, sessions: int, size_bytes: int, removed: int, reason: Removal | None
) -> None:
    assert BOUNDS.removal(idle_s=idle_s, sessions=sessions, size_bytes=size_bytes, removed=removed) is reason
