"""How one family of servers is asked, and how it answers.

Responsibility: the seam between the exchange over HTTP, which all share, and what each family writes into it.
Guarantees: a dialect does no I/O and keeps nothing; it raises nothing but `UnintelligibleError` and `PushedBackError`.
Not responsible for: time, size, status and connections: see `holdfast.adapters.inference.http.client`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from holdfast.ports.inference import Completion, Prompt

__all__ = ["Dialect", "Listening", "PushedBackError", "UnintelligibleError"]


class UnintelligibleError(Exception):
    """An answer is not what it should be; the message repeats nothing of it."""


class PushedBackError(Exception):
    """The server pushes back after its answer has begun, or with a status that says otherwise."""


class Listening(Protocol):
    """Takes in one answer that streams."""

    @property
    def is_complete(self) -> bool:
        """Whether its end has come."""
        ...

    @property
    def size_bytes(self) -> int:
        """About how much of the answer is held."""
        ...

    def take(self, data: str) -> str:
        """Return the text that an event with this data adds, which may be none.

        Raises:
            UnintelligibleError: it cannot be understood.
            PushedBackError: it says that the server has too much to do.
        """
        ...

    def completion(self) -> Completion:
        """Return the whole answer, once its end has come.

        Raises:
            UnintelligibleError: there is none.
        """
        ...


class Dialect(Protocol):
    """What is said to a server, and what its answers mean."""

    @property
    def path(self) -> str:
        """Where prompts go, behind the address of the server."""
        ...

    def headers(self, api_key: str | None) -> Mapping[str, str]:
        """Return the headers of every request."""
        ...

    def body(self, prompt: Prompt, *, streams: bool) -> Mapping[str, Any]:
        """Return what is asked, as a JSON object."""
        ...

    def read(self, document: dict[str, Any], prompt: Prompt) -> Completion:
        """Return what an answer in one piece says.

        Raises:
            UnintelligibleError: it is none.
            PushedBackError: it says that the server has too much to do.
        """
        ...

    def listen(self, prompt: Prompt) -> Listening:
        """Return what takes in an answer that streams."""
        ...
