"""Answers of the Claude agent that is installed on this machine; needs the extra ``claude``."""

from holdfast.adapters.inference.claude_agent.backend import (
    ClaudeAgentBackend,
    ClaudeAgentOptions,
    ClaudeAgentProvider,
)

__all__ = ["ClaudeAgentBackend", "ClaudeAgentOptions", "ClaudeAgentProvider"]
