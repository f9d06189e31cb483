"""How the store of parameters is written in the settings.

Responsibility: the section ``parameters``: which store it is, and how it is followed.
Guarantees: no token appears in an error, in a representation or in what ``holdfast doctor`` prints.
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

from pydantic import Field, SecretStr

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


class ConsulParameterSettings(Section):
    """The keys of a Consul agent below a prefix; needs the extra ``consul``.

    The text of ``PREFIX/guard/attempt_timeout_s`` is the setting ``guard.attempt_timeout_s``, as in a variable of the
    environment; JSON objects, JSON lists and ``null`` are taken for those.

    Args:
        address: ``http://HOST:PORT`` or ``https://HOST:PORT``; default the agent of this machine.
        prefix: of the keys.
        token: what the agent lets this process do; None, the default, for none. Better in the environment
            (``HOLDFAST_PARAMETERS__TOKEN``) or in `token_file` than in a file that is shared.
        token_file: a file that holds the token, with no right for anybody but its owner, or for its group to read it;
            read for each call; in place of `token`.
        ca_file: whom the agent's certificate has to be signed by; None, the default, for those that the system trusts.
        required: whether the service starts only if the agent answers; default no.
        query: how they are followed; a call may take `slack_s` beyond what it waits for a change.
    """

    kind: Literal["consul"]
    address: str = "http://127.0.0.1:8500"
    prefix: str = Field(default="holdfast", pattern=r"[^/]")
    token: SecretStr | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    required: bool = False
    query: QueryConfig = QueryConfig()


ParameterSettings = Annotated[TomlParameterSettings | ConsulParameterSettings, Field(discriminator="kind")]
"""The store of parameters, by its kind."""
