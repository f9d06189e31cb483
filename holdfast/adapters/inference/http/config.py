"""How a server is talked to.

Responsibility: the times and sizes that bound one exchange.
Guarantees: numbers out of range, and those that contradict each other, are refused by name.
Not responsible for: keeping to them: see `holdfast.adapters.inference.http.client`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from holdfast.ports.errors import ConfigurationError

__all__ = ["HttpConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """What one exchange with a server may take.

    Args:
        connect_timeout_s: seconds to find the server and to connect, TLS included; default 5.0, as in the client of
            OpenAI.
        first_byte_timeout_s: seconds from the call to the head of the answer, connecting included; default 60.0,
            unmeasured.
        idle_timeout_s: seconds in which nothing of the answer comes; those in which its reader is not ready for more do
            not count. Default 30.0, unmeasured.
        total_timeout_s: seconds for the whole exchange, likewise without those of its reader; default 600.0, as in the
            client of OpenAI.
        keep_alive_s: seconds for which a connection is kept unused; default 4.0, less than the 5 after which uvicorn
            and llama-server close it.
        max_reply_bytes: the longest answer: the body of a whole one, the text as UTF-8 and the calls of one that
            streams; default 10 MiB, unmeasured.
        max_line_bytes: the longest line of a stream; default 1 MiB, unmeasured.
        max_stream_bytes: the longest stream, with all that stands around its text; default 256 MiB, unmeasured.

    Raises:
        ConfigurationError: if a number is out of its range, or one time could never be used up.
    """

    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 60.0
    idle_timeout_s: float = 30.0
    total_timeout_s: float = 600.0
    keep_alive_s: float = 4.0
    max_reply_bytes: int = 10 * 1024 * 1024
    max_line_bytes: int = 1024 * 1024
    max_stream_bytes: int = 256 * 1024 * 1024

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            value: float = getattr(self, name)
            if not 0 < value < math.inf:
                raise ConfigurationError(f"must be a finite number above 0, not {value!r}", path=f"http.{name}")
        self._require_not_above("connect_timeout_s", "first_byte_timeout_s")
        self._require_not_above("first_byte_timeout_s", "total_timeout_s")
        self._require_not_above("idle_timeout_s", "total_timeout_s")
        self._require_not_above("max_line_bytes", "max_stream_bytes")

    def _require_not_above(self, name: str, other: str) -> None:
        value, most = getattr(self, name), getattr(self, other)
        if value > most:
            raise ConfigurationError(f"must be at most http.{other}, {most!r}, not {value!r}", path=f"http.{name}")
