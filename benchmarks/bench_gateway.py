"""What a request through the gateway costs, over a real socket, around a backend that costs nothing.

Each server has a process of its own, pinned to one core where the system allows it; the clients have another. All
clients are raw sockets, so that no client library is measured. `budget` is design.md's: at least 1500 requests a second
on one core, and 5 ms of overhead at the 99th percentile with 200 clients at once.

The overhead is what the gateway takes beyond a server that only answers: what the clients, the system and whoever else
is on the machine add to one, they add to the other. The rounds of all servers alternate, and medians of theirs are
compared. Each request is due at a time of its own, and its answer is timed from then on, so that neither a slow client
nor a server that is behind shortens what it waits. A core that others use too makes requests queue: on a busy machine,
put ``chrt -f 10`` before the command.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import platform
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import IO, Final

import anyio

from holdfast import Message, Request, Role, Settings, open_orchestrator
from holdfast.application.settings import ScriptedSettings
from holdfast.ports.gateway import GatewayOptions

ROUNDS = 3
REQUESTS = 1000
CLIENTS = 200
CROWDED_REQUESTS = 20
PACED_ROUNDS = 5
COLLECTED_REQUESTS = 8000
LEAST_PER_S = 1500.0
MOST_P99_S = 0.005

_GATEWAY: Final = """
import sys
from holdfast.__main__ import main
sys.argv = ["holdfast", "serve", "--port", "0", "--set", "backends.a.kind=scripted", "--set", "guard.pool.max_size=20"]
main()
"""

_TELLING: Final = """
import gc, signal, sys, time
began_s, spent_s = 0.0, []

def time_collection(phase, info):
    global began_s
    if phase == "start":
        began_s = time.thread_time()
    else:
        spent_s.append(time.thread_time() - began_s)

def tell(*_):
    print(sum(spent_s), max(spent_s, default=0.0), file=sys.stderr, flush=True)
    spent_s.clear()

gc.callbacks.append(time_collection)
signal.signal(signal.SIGUSR1, tell)
"""
"""Tells, when it is asked, how long garbage was collected since it was last asked, and how long at a stretch."""

_LEAVING_IT_TO_PYTHON: Final = "gc.freeze = gc.set_threshold = lambda *_: None"

_ANSWERING: Final = """
import asyncio, sys

class Answering(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\n{}")

async def main():
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", file=sys.stderr, flush=True)
    await server.serve_forever()

asyncio.run(main())
"""

_UVICORN: Final = """
import socket, sys, uvicorn

async def answer(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}})
    await send({{"type": "http.response.body", "body": b"{{}}"}})

listener = socket.create_server(("127.0.0.1", 0))
print(f"http://127.0.0.1:{{listener.getsockname()[1]}}", file=sys.stderr, flush=True)
uvicorn.Server(uvicorn.Config(answer, http="{http}", loop="asyncio", lifespan="off", log_config=None)).run([listener])
"""

_FLOOR: Final = "asyncio, only answering"
_JUDGED: Final = "gateway, POST chat"

_PARSERS: Final = [name for name in ("h11", "httptools") if find_spec(name)]


def _programs() -> dict[str, str]:
    """Return what is compared at the same rate, by its name."""
    return {
        _FLOOR: _ANSWERING,
        **{f"uvicorn, only answering, {name}": _UVICORN.format(http=name) for name in _PARSERS},
        _JUDGED: _GATEWAY,
    }


@dataclass(frozen=True)
class _Server:
    port: int
    pid: int
    said: IO[str]

    def processor_s(self) -> float:
        """Return the time that it has had of its core, which a busy machine does not stretch."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def collections_s(self) -> tuple[float, float]:
        """Return how long garbage was collected since this was last called, and how long at a stretch."""
        os.kill(self.pid, signal.SIGUSR1)
        total, longest = self.said.readline().split()
        return float(total), float(longest)


@contextmanager
def _serving(program: str) -> Iterator[_Server]:
    with TemporaryDirectory() as nowhere:  # whose settings would be read too: here, a folder of documents to search
        yield from _serving_in(nowhere, program)


def _serving_in(folder: str, program: str) -> Iterator[_Server]:
    process = subprocess.Popen([sys.executable, "-c", program], cwd=folder, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None  # noqa: S101 - as it was asked for
    try:
        if hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(process.pid, cores[:1])
            os.sched_setaffinity(0, cores[1:] or cores)
        announced = process.stderr.readline()
        found = re.search(r":(\d+)$", announced.strip())
        if found is None:
            raise SystemExit(announced + process.stderr.read())
        yield _Server(int(found[1]), process.pid, process.stderr)
    finally:
        process.kill()
        process.communicate()


def _request(path: str, document: object | None) -> bytes:
    body = b"" if document is None else json.dumps(document).encode()
    method = "GET" if document is None else "POST"
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", "content-type: application/json"]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


_numbers = itertools.count()


def _chat(*, stream: bool = False) -> bytes:
    messages = [{"role": "user", "content": f"question {next(_numbers)}"}]
    return _request("/v1/chat/completions", {"model": "holdfast", "messages": messages, "stream": stream})


async def _load(port: int, clients: int, requests: list[bytes]) -> tuple[float, list[float]]:
    """Return requests per second, and how long each one took."""
    waiting, took_s = iter(requests), list[float]()

    async def ask() -> None:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            for request in waiting:
                began_s = time.perf_counter()
                await stream.send(request)
                await _read_answer(stream)
                took_s.append(time.perf_counter() - began_s)

    began_s = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for _ in range(clients):
            tasks.start_soon(ask)
    return len(requests) / (time.perf_counter() - began_s), took_s


async def _read_answer(stream: anyio.abc.SocketStream) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        received += await stream.receive()
    head, _, rest = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(received.decode())
    length = re.search(rb"content-length: (\d+)", head)
    while (len(rest) < int(length[1])) if length else not rest.endswith(b"0\r\n\r\n"):
        rest += await stream.receive()


def _probe() -> bytes:
    return _request("/healthz", None)


def _streamed() -> bytes:
    return _chat(stream=True)


def _crowded() -> bytes:
    """Return the chat of the most messages that is taken: each has three values, and the body two beside them."""
    count = (GatewayOptions().max_body_values - 2) // 3
    roles = itertools.islice(itertools.cycle(("user", "assistant")), count - 1)
    messages = [{"role": role, "content": f"word {next(_numbers)}"} for role in roles]
    return _request("/v1/chat/completions", {"messages": [*messages, {"role": "user", "content": "why?"}]})


async def _submit_alone() -> float:
    """Return the processor's time for `submit` in this process, for comparison where the machine is busy."""
    settings = Settings(backends={"a": ScriptedSettings(kind="scripted")})
    async with open_orchestrator(settings) as service:
        began_s = time.process_time()
        for _ in range(REQUESTS):
            question = Message(role=Role.USER, content=f"question {next(_numbers)}")
            await service.submit(Request(messages=(question,)))
        return (time.process_time() - began_s) / REQUESTS


async def _measure(server: _Server) -> bool:
    """Print the first table's rows of the gateway, and return whether it takes as many requests as it should."""
    print(
        f"{'path':<38} {'clients':>7} {'requests/s':>10} {'slowest–fastest':>17} {'CPU µs':>7} {'P50 ms':>8} "
        f"{'P99 ms':>8}  budget"
    )
    print(f"{'submit alone, in the process of the clients':<74} {await _submit_alone() * 1e6:>7.0f}")
    await _measure_path("GET /healthz", server, 32, _probe)
    is_kept = await _measure_path("POST chat, whole", server, 32, _chat, judged=True)
    await _measure_path("POST chat, streamed", server, 32, _streamed)
    await _measure_path("POST chat, whole", server, CLIENTS, _chat)
    await _measure_path("POST chat, as many values as are taken", server, 1, _crowded, requests=CROWDED_REQUESTS)
    return is_kept


async def _measure_path(
    path: str,
    server: _Server,
    clients: int,
    make: Callable[[], bytes],
    *,
    requests: int = REQUESTS,
    judged: bool = False,
) -> bool:
    await _load(server.port, clients, [make() for _ in range(requests // 3)])
    before_s = server.processor_s()
    rounds = [await _load(server.port, clients, [make() for _ in range(requests)]) for _ in range(ROUNDS)]
    processor_us = (server.processor_s() - before_s) / (ROUNDS * requests) * 1e6
    rates = [rate for rate, _ in rounds]
    took_s = sorted(second for _, each in rounds for second in each)
    print(
        f"{path:<38} {clients:>7} {median(rates):>10.0f} {f'{min(rates):.0f}–{max(rates):.0f}':>17} "
        f"{processor_us:>7.0f} {median(took_s) * 1e3:>8.2f} {quantiles(took_s, n=100)[98] * 1e3:>8.2f}  "
        f"{_verdict(median(rates), processor_us) if judged else '–'}"
    )
    return median(rates) >= LEAST_PER_S


def _verdict(per_s: float, processor_us: float) -> str:
    """Say whether the budget is kept, and whether it would be by a server that had its core to itself."""
    most_us = 1e6 / LEAST_PER_S
    rate = f"≥ {LEAST_PER_S:g}/s: {'kept' if per_s >= LEAST_PER_S else 'MISSED'}"
    return f"{rate}; ≤ {most_us:.0f} µs of CPU: {'kept' if processor_us <= most_us else 'MISSED'}"


def _measure_collections() -> None:
    """Print the second table."""
    print(f"\n{'collections of garbage, POST chat, whole':<44} {'µs a request':>13} {'longest ms':>11}")
    for name, changed in (("holdfast serve", ""), ("left to Python", _LEAVING_IT_TO_PYTHON)):
        with _serving(_TELLING + changed + _GATEWAY) as server:
            anyio.run(_load, server.port, 32, [_chat() for _ in range(REQUESTS)])
            server.collections_s()  # of the start
            requests = [_chat() for _ in range(COLLECTED_REQUESTS)]
            anyio.run(_load, server.port, 32, requests)
            total_s, longest_s = server.collections_s()
        print(f"{name:<36} {32:>7} {total_s / len(requests) * 1e6:>13.1f} {longest_s * 1e3:>11.1f}")


def _paced(port: int, requests: deque[bytes]) -> list[float]:
    """Ask at half the rate that one core takes, on as many connections as there are clients, which take turns.

    It sleeps to the microsecond; the timers of an event loop are as coarse as a millisecond, and would send in bursts.
    """
    interval_s = 2 / LEAST_PER_S
    busy: dict[socket.socket, tuple[float, bytes]] = {}
    took_s: list[float] = []
    with ExitStack() as stack:
        idle = deque(stack.enter_context(_known(port)) for _ in range(CLIENTS))
        due_s = time.perf_counter() + interval_s
        while requests or busy:
            while requests and idle and due_s <= time.perf_counter():
                client = idle.popleft()
                client.sendall(requests.popleft())
                busy[client], due_s = (due_s, b""), due_s + interval_s
            wait_s = max(0.0, due_s - time.perf_counter()) if requests and idle else None
            for client in select.select(list(busy), (), (), wait_s)[0]:
                asked_s, received = busy.pop(client)
                received += _receive(client)
                if _is_whole(received):
                    took_s.append(time.perf_counter() - asked_s)
                    idle.append(client)
                else:
                    busy[client] = asked_s, received
    return took_s


def _known(port: int) -> socket.socket:
    """Return a connection on which one answer has come, so that what is timed does not wait for others to connect."""
    client, received = socket.create_connection(("127.0.0.1", port)), b""
    client.sendall(_chat())
    while not _is_whole(received):
        received += _receive(client)
    return client


def _receive(client: socket.socket) -> bytes:
    received = client.recv(65536)
    if not received:
        raise SystemExit("the server has closed the connection")
    return received


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    if end and not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(received.decode())
    length = re.search(rb"content-length: (\d+)", head)
    return length is not None and bool(end) and len(body) >= int(length[1])


def _measure_paced() -> bool:
    """Print the third table, and return whether the overhead is within its budget."""
    p99_s: dict[str, list[float]] = {}
    print(
        f"\n{f'{CLIENTS} clients, {LEAST_PER_S / 2:g} requests/s together':<36} {'CPU µs':>7} {'P50 ms':>8} "
        f"{'P99 ms':>8} {'fastest–slowest':>17}  budget"
    )
    with ExitStack() as stack:
        servers = {name: stack.enter_context(_serving(program)) for name, program in _programs().items()}
        rounds = {name: list[_Round]() for name in servers}
        for _ in range(PACED_ROUNDS + 1):
            for name, server in servers.items():
                rounds[name].append(_measure_round(server))
    for name, (_, *timed) in rounds.items():  # the first only warms up
        p99_s[name] = [each.p99_s for each in timed]
        print(
            f"{name:<36} {median(each.processor_s for each in timed) * 1e6:>7.0f} "
            f"{median(each.p50_s for each in timed) * 1e3:>8.2f} {median(p99_s[name]) * 1e3:>8.2f} "
            f"{f'{min(p99_s[name]) * 1e3:.2f}–{max(p99_s[name]) * 1e3:.2f}':>17}  –"
        )
    overhead_s = median(p99_s[_JUDGED]) - median(p99_s[_FLOOR])
    is_kept = overhead_s < MOST_P99_S
    print(
        f"{'overhead of the gateway':<53} {overhead_s * 1e3:>8.2f} {'':>17}  "
        f"P99 < {MOST_P99_S * 1e3:g} ms: {'kept' if is_kept else 'MISSED'}"
    )
    return is_kept


@dataclass(frozen=True)
class _Round:
    """What the requests of one round took; the processor's time is for each."""

    processor_s: float
    p50_s: float
    p99_s: float


def _measure_round(server: _Server) -> _Round:
    before_s = server.processor_s()
    took_s = _paced(server.port, deque(_chat() for _ in range(REQUESTS)))
    processor_s = (server.processor_s() - before_s) / (CLIENTS + REQUESTS)
    return _Round(processor_s, median(took_s), quantiles(took_s, n=100)[98])


def main() -> bool:
    """Print the table and return whether every budget is kept."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("uvicorn", "fastapi", *_PARSERS))
    load = f", load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores" if hasattr(os, "getloadavg") else ""
    print(f"\nThe gateway, scripted backend, one core  (CPython {platform.python_version()}, {versions}{load})")
    gc.freeze()  # or the clients' own collections would be taken for waiting
    with _serving(_GATEWAY) as server:
        rate_is_kept = anyio.run(_measure, server)
    _measure_collections()
    return _measure_paced() and rate_is_kept


if __name__ == "__main__":
    sys.exit(not main())
