"""What llama-server does that decides how it is asked (adr/0038)."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.fakes.llama_server import LlamaServer
from tests.fakes.server_process import wait_until

pytestmark = pytest.mark.slow

SCHEMA = {"type": "string", "minLength": 100, "maxLength": 100}
LONG = {"type": "object", "properties": {"a": {"type": "array", "minItems": 50, "items": SCHEMA}}, "required": ["a"]}
"""An answer that takes it several seconds."""


@contextmanager
def streamed_by(server: LlamaServer) -> Iterator[None]:
    """Ask for the long answer as a stream, give the block when it is worked on, and leave with the block."""
    wait_until(lambda: server.busy_slots() == 0, "no place is taken")
    format_ = {"type": "json_schema", "json_schema": {"name": "answer", "schema": LONG}}
    question = {"messages": [{"role": "user", "content": "sing"}], "max_tokens": 4000, "response_format": format_}
    body = json.dumps(question | {"stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head + body)
        wait_until(lambda: server.busy_slots() == 1, "the place is taken")
        yield


def test_caller_who_leaves_in_mid_stream_frees_the_place_at_once(llama_server: LlamaServer) -> None:
    with streamed_by(llama_server):
        pass

    wait_until(lambda: llama_server.busy_slots() == 0, "the place is free", within_s=1.0)
    assert llama_server.busy_slots() == 0
