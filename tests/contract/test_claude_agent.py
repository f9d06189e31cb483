"""The contract of backends, by the Claude agent over a stub of its program."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.adapters.inference.claude_agent import ClaudeAgentBackend, ClaudeAgentOptions
from holdfast.ports.inference import InferenceBackend
from holdfast.testing.contracts.inference_backend import InferenceBackendContract
from tests.fakes.claude_cli import install, result, started


@pytest.mark.real_time
@pytest.mark.slow
class TestClaudeAgentBackend(InferenceBackendContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> InferenceBackend:
        agent = install(tmp_path, started(), result('```json\n{"answer": "yes"}\n```'))
        return ClaudeAgentBackend("claude", ClaudeAgentOptions(cli_path=agent.path))
