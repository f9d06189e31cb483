"""Where a request stands in a trace that spans services.

Responsibility: the W3C trace context, as it comes in with a request and goes out with each call of a backend.
Guarantees: what was read can go into headers again as it is; nothing that a peer sends makes reading fail.
Not responsible for: spans: see `holdfast.ports.telemetry`.
Source: W3C Trace Context, level 1, sections 3.2 and 3.3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["TraceContext"]

_VERSION_0: Final = "00"
_TRACEPARENT: Final = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace_id>[0-9a-f]{32})-(?!0{16})(?P<span_id>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_TRACESTATE: Final = re.compile(r"[ -~]{1,512}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceContext:
    """The trace, and the span in it that asks.

    Args:
        trace_id: 32 hexadecimal digits in lower case, not all of them 0.
        span_id: 16 of them, likewise.
        is_sampled: whether the one who asks keeps the span.
        state: what vendors of tracing hand on, opaque; nothing for none.
    """

    trace_id: str
    span_id: str
    is_sampled: bool = False
    state: str = ""

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> TraceContext | None:
        """Return what ``traceparent`` and ``tracestate`` say; None if there is none, or none that can be read.

        Args:
            headers: by their names in lower case.

        Example:
            >>> parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            >>> TraceContext.from_headers({"traceparent": parent}).span_id
            'b7ad6b7169203331'
            >>> TraceContext.from_headers({"traceparent": "garbage"})
        """
        found = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
        if found is None or (found["version"] == _VERSION_0 and found["more"]):
            return None
        state = headers.get("tracestate", "").strip(" \t")
        return cls(
            trace_id=found["trace_id"],
            span_id=found["span_id"],
            is_sampled=bool(int(found["flags"], 16) & 1),
            state=state if _TRACESTATE.fullmatch(state) else "",
        )

    def headers(self) -> dict[str, str]:
        """Return the headers that carry it on."""
        headers = {"traceparent": f"00-{self.trace_id}-{self.span_id}-{self.is_sampled:02x}"}
        return headers | {"tracestate": self.state} if self.state else headers
