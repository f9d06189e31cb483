"""Backends that run on this machine, as they can be set, and made.

Responsibility: one validated, frozen value for each, and from it to the provider of its instances or to its loader.
Guarantees: a driver is loaded when its backend is chosen, and one that is missing is told in one line with its extra;
    the agent of a machine that has none is a backend that is down, not a service that cannot start.
Not responsible for: how they are asked: see `holdfast.adapters.inference`.

In TOML:

    [backends.local]
    kind = "llama_cpp"
    path = "models/small.gguf"
    n_gpu_layers = -1

    [backends.agent]
    kind = "claude_agent"
    guard = { attempt_timeout_s = 60.0 }
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from holdfast.application.guard_settings import GuardSettings
from holdfast.application.section import Section
from holdfast.domain.circuit_breaker import BreakerConfig
from holdfast.domain.pool import PoolConfig
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.inference import InferenceBackend
from holdfast.ports.model import ModelLoader
from holdfast.ports.resource import ResourceProvider

__all__ = [
    "ClaudeAgentSettings",
    "LlamaCppSettings",
    "PatientGuardSettings",
    "make_agent_provider",
    "make_llama_loader",
]


class PatientGuardSettings(GuardSettings):
    """What stands around a backend that takes its time.

    Args:
        attempt_timeout_s: as there; default 120, unmeasured. The deadline of a request may end an attempt before.
        breaker: as there; a probe has 150 seconds, which an attempt never takes.
        pool: as there; a lease is warned about after as many.
    """

    attempt_timeout_s: float = Field(default=120.0, gt=0)
    breaker: BreakerConfig = BreakerConfig(probe_timeout_s=150.0)
    pool: PoolConfig = PoolConfig(leak_warning_s=150.0)


class ClaudeAgentSettings(Section):
    """The Claude agent that is installed here; needs the extra ``claude``.

    Args:
        model: for requests that name none; None, the default, lets the agent choose.
        cli_path: its program; None, the default, for the one that the extra brings, or ``claude`` on PATH.
        pass_environment: names of environment variables that it may see besides those that it needs; default none.
        guard: what stands around it, in place of the common one.
    """

    kind: Literal["claude_agent"]
    model: str | None = Field(default=None, min_length=1)
    cli_path: Path | None = None
    pass_environment: tuple[str, ...] = ()
    guard: PatientGuardSettings = PatientGuardSettings()


class LlamaCppSettings(Section):
    """A model of llama.cpp in the memory of this process; needs the extra ``llama``.

    Args:
        path: the GGUF file.
        n_gpu_layers: how many of its layers the GPU takes, from 0; -1 for all of them, as the driver has it; default 0.
        threads: that compute, from 1; None, the default, leaves it to the driver.
        context_tokens: room for prompt and answer together, from 1; default 4096, unmeasured.
        memory_bytes: what it takes of the host's memory; None, the default, for the size of its file and 128 KiB for
            each token of its context.
        guard: what stands around it, in place of the common one.
    """

    kind: Literal["llama_cpp"]
    path: Path
    n_gpu_layers: int = Field(default=0, ge=-1)
    threads: int | None = Field(default=None, ge=1)
    context_tokens: int = Field(default=4096, ge=1)
    memory_bytes: int | None = Field(default=None, ge=1)
    guard: PatientGuardSettings = PatientGuardSettings()


def make_agent_provider(name: str, chosen: ClaudeAgentSettings) -> ResourceProvider[InferenceBackend]:
    """Return what makes the instances of the backend of this name."""
    from holdfast.adapters.inference.claude_agent import (  # noqa: PLC0415 - loaded when it is chosen
        ClaudeAgentBackend,
        ClaudeAgentOptions,
        ClaudeAgentProvider,
    )

    options = ClaudeAgentOptions(cli_path=chosen.cli_path, model=chosen.model, pass_environment=chosen.pass_environment)
    return ClaudeAgentProvider(ClaudeAgentBackend(name, options))


def make_llama_loader(name: str, chosen: LlamaCppSettings) -> ModelLoader:
    """Return what loads the model of this name.

    Raises:
        ConfigurationError: its driver is not installed, or there is no such file.
    """
    from holdfast.adapters.inference.llama_cpp import (  # noqa: PLC0415 - as above
        LlamaCppOptions,
        llama_cpp_loader,
        require_llama_cpp,
    )

    try:
        require_llama_cpp()
    except ImportError as error:
        raise ConfigurationError(str(error), path=f"backends.{name}.kind") from error
    options = LlamaCppOptions(
        path=chosen.path,
        n_gpu_layers=None if chosen.n_gpu_layers == -1 else chosen.n_gpu_layers,
        threads=chosen.threads,
        context_tokens=chosen.context_tokens,
        memory_bytes=chosen.memory_bytes,
    )
    return llama_cpp_loader(name, options)
