"""Real llama-servers on free ports of this machine, each with the same tiny model, whose text is nonsense."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.server_process import ServerProcess
from tests.servers import GIVEN, free_port, server_program

__all__ = ["LlamaServer", "StartLlama", "llama_server", "start_llama", "tiny_model"]

_MODEL: Final = Path(__file__).parents[2] / ".servers" / "llama" / "tiny.gguf"
_VARIABLE: Final = "HOLDFAST_TEST_LLAMA_MODEL"
SLOTS: Final = 4


def tiny_model() -> Path:
    """Return the model; skip the running test where there is none, fail it in CI."""
    given = GIVEN.get(_VARIABLE)
    path = Path(given) if given else _MODEL
    if path.is_file():
        return path
    reason = f"there is no tiny model: run `make servers`, or name one in {_VARIABLE}"
    if given or os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


class LlamaServer(ServerProcess):
    """One server with four slots, on one thread.

    Args:
        folder: Where its log is written; exists already.
        api_key: What clients must say, or nothing.
    """

    def __init__(self, folder: Path, *, api_key: str | None = None) -> None:
        self.port = free_port()
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        command = [
            server_program("llama-server"),
            *("--model", tiny_model(), "--host", "127.0.0.1", "--port", str(self.port)),
            *("--ctx-size", str(4096 * SLOTS), "--parallel", str(SLOTS), "--threads", "1", "--slots"),
            *(("--api-key", api_key) if api_key is not None else ()),
        ]
        super().__init__(f"llama-server on {self.port}", command, folder, is_ready=self._answers)

    @property
    def url(self) -> str:
        """The address of its API."""
        return f"http://127.0.0.1:{self.port}/v1"

    def busy_slots(self) -> int:
        """Return how many answers it is working on."""
        slots: list[dict[str, Any]] = json.loads(self._get("/slots"))
        return sum(bool(slot["is_processing"]) for slot in slots)

    def _answers(self) -> bool:
        try:
            return b'"ok"' in self._get("/health")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def _get(self, path: str) -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=self._headers)
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - HTTP, as the line above says
            content: bytes = answer.read()
        return content


StartLlama = Callable[..., LlamaServer]
"""What the fixture `start_llama` gives: takes what `LlamaServer` takes, without the folder."""


@pytest.fixture
def start_llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartLlama]:
    """Start servers of the test's own, which it may kill, freeze and restart; all are ended after it."""
    started: list[LlamaServer] = []

    def start(*, api_key: str | None = None) -> LlamaServer:
        server = LlamaServer(tmp_path_factory.mktemp("llama"), api_key=api_key)
        started.append(server)
        server.start()
        return server

    yield start

    for server in started:
        server.kill()


@pytest.fixture(scope="session")
def llama_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    """Keep one server for all tests of this process; not to be killed or frozen."""
    server = LlamaServer(tmp_path_factory.mktemp("llama"))
    server.start()
    yield server
    server.kill()
