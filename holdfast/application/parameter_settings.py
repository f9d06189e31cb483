"""How the store of parameters is written in the settings.

Responsibility: the section ``parameters``: which store it is, and how it is followed.
Guarantees: those of a Consul agent: see `holdfast.application.agent_settings`.
Not responsible for: making the adapter: see `holdfast.application.container`; what a change does: see
    `holdfast.application.live_settings`.

    [parameters]
    kind = "consul"
    prefix = "holdfast/production"
    token_file = "/etc/holdfast/consul-token"
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from holdfast.application.agent_settings import ConsulAgentSettings
from holdfast.application.section import Section
from holdfast.domain.blocking_query import QueryConfig

__all__ = ["ConsulParameterSettings", "ParameterSettings", "TomlParameterSettings"]


class TomlParameterSettings(Section):
    """A TOML file, in the form of ``holdfast.toml``, that is followed while the service runs.

    Args:
        path: of the file; replace it, rather than write into it.
        poll_s: seconds between two looks at it; default 1, unmeasured.
        required: whether the service starts only if the file is there; default no.
        query: how it is followed.
    """

    kind: Literal["toml"]
    path: Path
    poll_s: float = Field(default=1.0, gt=0)
    required: bool = False
    query: QueryConfig = QueryConfig()


class ConsulParameterSettings(ConsulAgentSettings):
    """The keys of a Consul agent below a prefix.

    The text of ``PREFIX/guard/attempt_timeout_s`` is the setting ``guard.attempt_timeout_s``, as in a variable of the
    environment; JSON objects, JSON lists and ``null`` are taken for those.

    Args:
        prefix: of the keys.
        required: whether the service starts only if the agent answers; default no.
        query: how they are followed; a call may take `slack_s` beyond what it waits for a change.
    """

    kind: Literal["consul"]
    prefix: str = Field(default="holdfast", pattern=r"[^/]")
    required: bool = False
    query: QueryConfig = QueryConfig()


ParameterSettings = Annotated[TomlParameterSettings | ConsulParameterSettings, Field(discriminator="kind")]
"""The store of parameters, by its kind."""
