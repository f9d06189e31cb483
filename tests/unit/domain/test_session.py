from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import anyio
import pytest

from holdfast.adapters.memory.sessions import MemorySessions
from holdfast.domain.session import LEAST_SESSION_BYTES, SessionConfig, new_session, new_turn
from holdfast.domain.session_keeper import SessionKeeper
from holdfast.ports.errors import ConfigurationError, SessionTooLargeError
from holdfast.ports.inference import Message, Role
from holdfast.ports.session import Session, SessionTurn
from holdfast.testing import ManualClock

EMOJI = "\N{GRINNING FACE}"
MAX_BYTES = 10_000_000


def said(*contents: str) -> list[Message]:
    return [Message(role=Role.USER, content=content) for content in contents]


def session(system: str | None = None, *, max_bytes: int = MAX_BYTES) -> Session:
    return new_session(tenant="t", session_id="s", incarnation="i", system=system, max_bytes=max_bytes)


def turn(messages: list[Message], answer: str = "", *, max_bytes: int = MAX_BYTES) -> SessionTurn:
    return new_turn(messages, answer, head=session().head, max_bytes=max_bytes)


def test_config_defaults_are_those_of_the_design() -> None:
    config = SessionConfig()

    assert (config.max_bytes, config.max_total_bytes, config.idle_s) == (10_000_000, 1_000_000_000, 1800.0)


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"max_bytes": LEAST_SESSION_BYTES - 1}, "sessions.max_bytes"),
        ({"max_total_bytes": LEAST_SESSION_BYTES - 1}, "sessions.max_total_bytes"),
        ({"max_sessions": 0}, "sessions.max_sessions"),
        ({"idle_s": 0.0}, "sessions.idle_s"),
        ({"idle_s": float("inf")}, "sessions.idle_s"),
    ],
)
def test_config_out_of_range_is_refused_with_its_path(arguments: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        SessionConfig(**arguments)

    assert refused.value.path == path


def test_config_of_a_session_larger_than_all_is_refused_naming_both_paths() -> None:
    with pytest.raises(ConfigurationError, match=r"sessions\.max_total_bytes") as refused:
        SessionConfig(max_bytes=5001, max_total_bytes=5000)

    assert refused.value.path == "sessions.max_bytes"
    assert SessionConfig(max_bytes=5000, max_total_bytes=5000).max_bytes == 5000


def test_session_counts_its_system_message_as_utf8() -> None:
    empty, emoji = session(), session(EMOJI * 100)

    assert emoji.size_bytes - empty.size_bytes == 400
    assert emoji.size_bytes == emoji.head.fixed_bytes
    assert emoji.messages == (Message(role=Role.SYSTEM, content=EMOJI * 100),)
    assert empty.messages == ()


def test_session_whose_system_message_does_not_fit_is_refused() -> None:
    room = LEAST_SESSION_BYTES - session().head.fixed_bytes

    assert session("x" * room, max_bytes=LEAST_SESSION_BYTES).size_bytes == LEAST_SESSION_BYTES
    with pytest.raises(SessionTooLargeError) as refused:
        session("x" * (room + 1), max_bytes=LEAST_SESSION_BYTES)
    assert (refused.value.session_id, refused.value.max_bytes) == ("s", LEAST_SESSION_BYTES)


def test_turn_counts_each_text_as_utf8_and_each_message_besides() -> None:
    plain, emoji, two = turn(said("a"), "b"), turn(said(EMOJI), "b"), turn(said("a", "a"), "b")

    assert emoji.size_bytes - plain.size_bytes == 3
    assert two.size_bytes - plain.size_bytes > 1
    assert [kept.message.content for kept in two.messages] == ["a", "a", "b"]
    assert two.messages[-1].role is Role.ASSISTANT


def test_turn_that_fits_alone_to_the_byte_is_taken_and_one_byte_more_is_not() -> None:
    room = 8000 - session().head.fixed_bytes - turn(said("")).size_bytes

    assert turn(said("x" * room), max_bytes=8000).size_bytes + session().head.fixed_bytes == 8000
    for messages, answer in ((said("x" * (room + 1)), ""), (said("x" * room), "y"), (said("x" * room, ""), "")):
        with pytest.raises(SessionTooLargeError) as refused:
            turn(messages, answer, max_bytes=8000)
        assert refused.value.size_bytes > 8000


@pytest.mark.parametrize(
    ("messages", "answer"),
    [
        (said(EMOJI * 10_000_000), ""),
        (said(EMOJI * 2_600_000), ""),
        (said(EMOJI * 1_300_000, EMOJI * 1_300_000), ""),
        (said(""), EMOJI * 2_600_000),
        (said("x" * 10_000_000), ""),
        (said("x") * 1_000_000, ""),
    ],
    ids=["more emoji than bytes", "emoji", "two of emoji", "answer of emoji", "ascii", "million messages"],
)
def test_turn_too_large_is_refused_before_it_is_encoded_or_copied(messages: list[Message], answer: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(SessionTooLargeError):
            turn(messages, answer)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 1_000_000


def test_system_message_too_large_is_refused_before_it_is_encoded() -> None:
    system = EMOJI * 2_600_000
    tracemalloc.start()
    try:
        with pytest.raises(SessionTooLargeError):
            session(system)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 1_000_000


def test_session_counts_the_names_that_it_was_given() -> None:
    long = new_session(tenant=EMOJI * 256, session_id=EMOJI * 256, incarnation="i", system=None, max_bytes=MAX_BYTES)

    assert long.size_bytes - session().size_bytes >= 2 * 4 * 255


@pytest.mark.parametrize(
    ("sessions", "turns", "text"),
    [
        (300, 0, ""),
        (100, 1, ""),
        (20, 50, ""),
        (20, 50, "a"),
        (20, 50, EMOJI),
        (20, 20, "word " * 20),
        (20, 10, EMOJI * 500),
        (5, 5, f"{EMOJI}{'a' * 20_000}"),
    ],
)
def test_memory_of_sessions_is_about_what_they_count_for(sessions: int, turns: int, text: str) -> None:
    numbers = iter(range(10**6))
    store = MemorySessions(clock=ManualClock())
    keeper = SessionKeeper(store, make_token=lambda: f"{next(numbers):043}")

    async def fill() -> None:
        for _ in range(sessions):
            head = (await keeper.open(await keeper.create(tenant="tenant"), tenant="tenant")).head
            for _ in range(turns):
                head = await keeper.append_turn(head, said(text), text)

    gc.collect()
    tracemalloc.start()
    try:
        anyio.run(fill)
        gc.collect()
        measured_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    counted_bytes = keeper.size_bytes
    assert 0.6 * counted_bytes < measured_bytes <= counted_bytes
