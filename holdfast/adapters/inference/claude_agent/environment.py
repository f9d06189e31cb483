"""What the agent sees of our environment.

Responsibility: choose the variables that a child process gets.
Guarantees: nothing is handed down that is not named here or by the user, so that keys of other services stay with us.
Not responsible for: values: what is named goes as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from holdfast.ports.trace import TraceContext

__all__ = ["agent_environment"]

_NEEDED: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LANGUAGE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"),
        *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"),
        *("CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CONFIG_DIR"),
    }
)
"""What a program needs to run and to reach the network, and the agent's own credentials and settings."""

_NEEDED_PREFIXES: Final = ("LC_", "XDG_")

_ENTRYPOINT: Final = {"CLAUDE_CODE_ENTRYPOINT": "sdk-py"}
"""As the SDK's own transport says."""


def agent_environment(
    environment: Mapping[str, str], *, passed: Collection[str] = (), trace: TraceContext | None = None
) -> dict[str, str]:
    """Return those variables that the agent gets.

    Args:
        environment: ours.
        passed: names of further variables that it may see.
        trace: its place in a trace, as its own telemetry reads it.

    Example:
        >>> agent_environment({"TZ": "UTC", "OPENAI_API_KEY": "secret", "LC_ALL": "C"})
        {'TZ': 'UTC', 'LC_ALL': 'C', 'CLAUDE_CODE_ENTRYPOINT': 'sdk-py'}
    """
    chosen = {
        name: value
        for name, value in environment.items()
        if name.upper() in _NEEDED or name.startswith(_NEEDED_PREFIXES) or name in passed
    }
    place = {} if trace is None else {name.upper(): value for name, value in trace.headers().items()}
    return chosen | place | _ENTRYPOINT
