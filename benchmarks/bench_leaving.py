"""How long a real llama-server goes on with an answer after its caller has left, asked for whole and as a stream."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

_FETCHED: Final = Path(__file__).parents[1] / ".servers" / "llama"
_PROGRAM: Final = Path(os.environ.get("HOLDFAST_TEST_LLAMA_SERVER", _FETCHED / "llama-server"))
_MODEL: Final = Path(os.environ.get("HOLDFAST_TEST_LLAMA_MODEL", _FETCHED / "tiny.gguf"))
_ROUNDS: Final = 7
_ITEM: Final = {"type": "string", "minLength": 100, "maxLength": 100}
_LONG: Final = {
    "type": "object",
    "properties": {"a": {"type": "array", "minItems": 50, "items": _ITEM}},
    "required": ["a"],
}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _busy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/slots", timeout=30) as answer:
            return any(slot["is_processing"] for slot in json.load(answer))
    except (urllib.error.URLError, ConnectionError):
        return True  # it has not begun to listen, or loads its model


def _wait(port: int, *, busy: bool) -> None:
    while _busy(port) is not busy:
        time.sleep(0.01)


def _left_after(port: int, *, streams: bool) -> float:
    """Ask for an answer of 4,000 tokens, leave 0.3 s after it has begun, and return when the place is free again."""
    format_ = {"type": "json_schema", "json_schema": {"name": "answer", "schema": _LONG}}
    question = {"messages": [{"role": "user", "content": "sing"}], "max_tokens": 4000, "response_format": format_}
    body = json.dumps(question | {"stream": streams}).encode()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        _wait(port, busy=True)
        time.sleep(0.3)
    left_s = time.perf_counter()
    _wait(port, busy=False)
    return time.perf_counter() - left_s


def main() -> bool:
    """Print the two figures; True where there is no server to be measured, too."""
    if not (_PROGRAM.exists() and _MODEL.exists()):
        print("\nLeaving a llama-server: skipped, there is none: run `make servers`")
        return True
    port = _free_port()
    with tempfile.TemporaryFile() as log:
        command: list[str | Path] = [
            _PROGRAM,
            "--model",
            _MODEL,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--threads",
            "1",
            "--slots",
        ]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait(port, busy=False)
            print("\nLeaving a llama-server 0.3 s after it has begun with 4,000 tokens: the place is free after")
            for how, streams in (("asked for whole", False), ("in mid-stream", True)):
                times_s = [_left_after(port, streams=streams) for _ in range(_ROUNDS)]
                spread = f"{min(times_s):.2f}–{max(times_s):.2f}"
                print(f"{how:<18} {statistics.median(times_s):>6.2f} s  ({spread}, n = {_ROUNDS})", flush=True)
        finally:
            process.kill()
            process.wait()
    return True


if __name__ == "__main__":
    sys.exit(not main())
