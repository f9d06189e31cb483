"""How a Consul agent is written in the settings, whatever is kept there.

Responsibility: the settings that say where the agent is and what it is told.
Guarantees: those that could not be used, or contradict each other, are refused as they are loaded, and not when the
    agent is to be asked; no token appears in an error, in a representation or in what ``holdfast doctor`` prints.
Not responsible for: the files that they name, which are read when they are needed; asking: see
    `holdfast.adapters.consul`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import SecretStr, model_validator

from holdfast.application.section import Section

__all__ = ["ConsulAgentSettings"]


class ConsulAgentSettings(Section):
    """A Consul agent; needs the extra ``consul``.

    Args:
        address: ``http://HOST:PORT`` or ``https://HOST:PORT``; default the agent of this machine.
        token: what the agent lets this process do; None, the default, for none. Better in the environment
            (``HOLDFAST_REGISTRY__TOKEN``, ``HOLDFAST_PARAMETERS__TOKEN``) or in `token_file` than in a file that is
            shared.
        token_file: a file that holds the token, with no right for anybody but its owner, or for its group to read it;
            read for each call; in place of `token`.
        ca_file: whom the agent's certificate has to be signed by; None, the default, for those that the system trusts.
    """

    address: str = "http://127.0.0.1:8500"
    token: SecretStr | None = None
    token_file: Path | None = None
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            from holdfast.adapters.consul.address import check_agent  # noqa: PLC0415 - loaded when it is chosen
        except ImportError:
            return self  # the extra is missing, which is said when the agent is to be asked
        check_agent(
            self.address,
            token=None if self.token is None else self.token.get_secret_value(),
            reads_token=self.token_file is not None,
            ca_file=self.ca_file,
            section="consul",
        )
        return self
