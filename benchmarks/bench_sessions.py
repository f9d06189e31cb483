"""Sessions: how much memory they take, each case in a process of its own, and what each call costs."""

from __future__ import annotations

import json
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import anyio
from harness import Row, measure_async, report

from holdfast.adapters.memory import MemorySessions
from holdfast.adapters.sqlite import SqliteSessions
from holdfast.adapters.system import SystemClock
from holdfast.domain import SessionConfig, SessionKeeper
from holdfast.ports.errors import SessionTooLargeError
from holdfast.ports.inference import Message, Role
from holdfast.ports.session import SessionStore

_EMOJI: Final = "\N{GRINNING FACE}"
_CEILING_BYTES: Final = 1_000_000_000
_SLACK: Final = 1.2
"""Resident memory may exceed the ceiling by a fifth: interpreter, allocator and fragmentation included."""


def _said(text: str) -> list[Message]:
    return [Message(role=Role.USER, content=text)]


def _keeper(store: SessionStore | None = None, *, config: SessionConfig) -> SessionKeeper:
    return SessionKeeper(store or MemorySessions(clock=SystemClock()), config, make_token=secrets.token_urlsafe)


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


async def _many_sessions(text: Callable[[int], str]) -> int:
    """Offer ten times as much as the ceiling allows: 10 000 sessions of 1 MB, grown turn by turn."""
    keeper = _keeper(config=SessionConfig(max_bytes=1_000_000, max_total_bytes=_CEILING_BYTES))
    for number in range(10_000):
        head = (await keeper.open(await keeper.create(tenant="t"), tenant="t")).head
        before = keeper.statistics().trimmed_turns
        while keeper.statistics().trimmed_turns == before:  # until the session is full
            head = await keeper.append_turn(head, _said(text(number)), text(number + 1))
    return keeper.size_bytes


async def _ascii_sessions() -> int:
    return await _many_sessions(lambda number: f"{number}".rjust(20_000))


async def _emoji_sessions() -> int:
    return await _many_sessions(lambda number: f"{number}".rjust(5_000, _EMOJI))


async def _short_sessions() -> int:
    """Fill the ceiling with turns of one character, where overhead is nearly all there is."""
    keeper = _keeper(config=SessionConfig(max_bytes=1_000_000, max_total_bytes=_CEILING_BYTES // 5))
    while not keeper.statistics().evicted:
        head = (await keeper.open(await keeper.create(tenant="t"), tenant="t")).head
        for _ in range(100):
            head = await keeper.append_turn(head, _said(_EMOJI), _EMOJI)
    return keeper.size_bytes


async def _turn_of_emoji() -> int:
    keeper = _keeper(config=SessionConfig())
    head = (await keeper.open(await keeper.create(tenant="t"), tenant="t")).head
    try:
        await keeper.append_turn(head, _said(_EMOJI * 2_500_000), "")
    except SessionTooLargeError:
        return keeper.size_bytes
    raise AssertionError


async def _million_turns() -> int:
    keeper = _keeper(config=SessionConfig())
    head = (await keeper.open(await keeper.create(tenant="t"), tenant="t")).head
    for _ in range(1_000_000):
        head = await keeper.append_turn(head, _said("x"), "y")
    return keeper.size_bytes


# What each case may take beyond an event loop that has all of it imported. The text that is refused is there once, as a
# `str` of four bytes for each character.
_CASES: Final = {
    "10 000 sessions of 1 MB, ASCII, ceiling 1 GB": (_ascii_sessions, _CEILING_BYTES * _SLACK),
    "10 000 sessions of 1 MB, emoji, ceiling 1 GB": (_emoji_sessions, _CEILING_BYTES * _SLACK),
    "turns of one emoji, ceiling 200 MB": (_short_sessions, _CEILING_BYTES / 5 * _SLACK),
    "a turn of 10 MB of emoji, refused": (_turn_of_emoji, 10_000_000 * _SLACK),
    "a million turns of one character, cap 10 MB": (_million_turns, 10_000_000 * _SLACK),
}


async def _measured(work: Callable[[], Awaitable[int]]) -> dict[str, float]:
    before_bytes = _peak_bytes()  # with the event loop
    began_s = time.perf_counter()
    counted_bytes = await work()
    return {"counted": counted_bytes, "taken": _peak_bytes() - before_bytes, "s": time.perf_counter() - began_s}


def _report_texts() -> None:
    print("\nA text of 10 000 characters, in bytes")
    print(f"{'characters':<48} {'as str':>10} {'as UTF-8':>11}")
    for name, text in (
        ("ASCII", "a" * 10_000),
        ("German", "ä" + "a" * 9_999),
        ("Chinese", "\N{CJK UNIFIED IDEOGRAPH-4E2D}" * 10_000),
        ("ASCII with one emoji", _EMOJI + "a" * 9_999),
        ("emoji", _EMOJI * 10_000),
    ):
        utf8 = text.encode()
        print(f"{name:<48} {sys.getsizeof(text):>10} {sys.getsizeof(utf8):>11}", flush=True)


def _report_memory() -> bool:
    print("\nMemory of sessions: resident, at its highest, beyond the interpreter's before")
    print(f"{'case':<48} {'counted MB':>10} {'resident MB':>11} {'allowed MB':>10} {'s':>6}")
    kept = True
    for name, (_, allowed_bytes) in _CASES.items():
        ran = subprocess.run([sys.executable, __file__, name], check=True, capture_output=True, text=True)
        told = json.loads(ran.stdout)
        within = told["taken"] <= allowed_bytes
        kept &= within
        figures = (told["counted"] / 1e6, told["taken"] / 1e6, allowed_bytes / 1e6)
        print(
            f"{name:<48} {figures[0]:>10.1f} {figures[1]:>11.1f} {figures[2]:>10.1f} {told['s']:>6.1f}"
            f"  {'kept' if within else 'MISSED'}",
            flush=True,
        )
    return kept


async def _rows(label: str, store: SessionStore, *, turns: int) -> list[Row]:
    # Capped at what the turns take, so that each further one also trims one.
    keeper = _keeper(store, config=SessionConfig(max_bytes=4096 + turns * 2_500))
    session_id = await keeper.create(tenant="t")
    head = (await keeper.open(session_id, tenant="t")).head
    text = "x" * 1000
    for _ in range(turns * 2):
        head = await keeper.append_turn(head, _said(text), text)

    async def append() -> None:
        nonlocal head
        head = await keeper.append_turn(head, _said(text), text)

    async def read() -> None:
        await keeper.open(session_id, tenant="t")

    return [
        await measure_async(f"{label}: append a turn of 2 KB to {turns}", append, calls=200, rounds=7),
        await measure_async(f"{label}: read {turns} turns, not decoded", read, calls=20, rounds=7),
    ]


async def _measure() -> list[Row]:
    rows: list[Row] = []
    for turns in (10, 4000):
        rows += await _rows("memory", MemorySessions(clock=SystemClock()), turns=turns)
    with tempfile.TemporaryDirectory() as folder:
        for turns in (10, 4000):
            path = Path(folder) / f"{turns}.sqlite"
            async with SqliteSessions(path, clock=SystemClock()) as store:
                rows += await _rows("SQLite", store, turns=turns)
    return rows


def main() -> bool:
    """Print the tables and return whether every bound is kept."""
    _report_texts()
    within = _report_memory()
    return report("Sessions", anyio.run(_measure)) and within


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(anyio.run(_measured, _CASES[sys.argv[1]][0])))
    else:
        sys.exit(not main())
