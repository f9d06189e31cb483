"""How the gateway is written in the settings, and what a server of it is told.

Responsibility: the section ``gateway``; read the keys that it names.
Guarantees: no key appears in an error, in a representation or in what ``holdfast doctor`` prints; nobody but this
    machine is let in without one.
Not responsible for: serving: see `holdfast.adapters.gateway`.

    [gateway]
    host = "0.0.0.0"
    api_keys_file = "/etc/holdfast/keys"    # lines of a tenant and its key, or sha256: and the key's digest
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from pydantic import Field, SecretStr

from holdfast.adapters.files.secret_file import read_secret_file
from holdfast.application.section import Section
from holdfast.domain.door import MAX_TENANT_CHARS
from holdfast.domain.validation import require
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.gateway import ApiKey, GatewayOptions

__all__ = ["GatewaySettings", "gateway_options"]

_MIN_KEY_CHARS: Final = 16
_DIGEST: Final = re.compile(r"sha256:([0-9a-fA-F]{64})")
_ESCAPED: Final = 4
"""How much larger than its texts a body may be; a text of control characters alone takes six times as much."""

_DEFAULTS: Final = GatewayOptions()


class GatewaySettings(Section):
    """How ``holdfast serve`` listens, and whom it lets in.

    Args:
        host: address or name that it listens on; default this machine only. Any other needs keys.
        port: TCP port; 0 takes any that is free.
        api_keys: the key of each tenant, of at least 16 characters; better in the environment
            (``HOLDFAST_GATEWAY__API_KEYS__TENANT``) or in `api_keys_file` than in a file that is shared.
        api_keys_file: a file of more keys, which nobody but its owner and one group may read: a tenant and its key on
            each line, or ``sha256:`` and the key's digest in place of the key. A tenant may have several.
        max_body_bytes: the largest body that is read; None, the default, for four times ``max_request_bytes``, because
            JSON escapes.
        max_body_values: how many values of JSON it may have, because each takes time for which all others wait. A
            message has three of them, a message in parts or a tool five or more. Default 32 768, of which the slowest
            take 0.1 s (adr/0040).
        max_connections: connections at once; one more is told to come back. Default 2048, unmeasured, and never more
            than the open files that the process may have (``ulimit -n``), less 256.
        header_timeout_s: seconds for the headers of a request; default 10, unmeasured.
        body_timeout_s: seconds for its body; default 30, unmeasured.
        write_timeout_s: seconds for which a client may take nothing of what waits for it; default 30, unmeasured.
        keep_alive_s: seconds for which a connection stays open without a request; default 5, uvicorn's own.
        drain_timeout_s: seconds for running requests once it is to stop; default 25, less than the 30 after which
            Kubernetes kills.
    """

    host: str = Field(default=_DEFAULTS.host, min_length=1)
    port: int = Field(default=_DEFAULTS.port, ge=0, le=65535)
    api_keys: dict[str, SecretStr] = Field(default={})
    api_keys_file: Path | None = None
    max_body_bytes: int | None = Field(default=None, ge=1)
    max_body_values: int = Field(default=_DEFAULTS.max_body_values, ge=1)
    max_connections: int = Field(default=_DEFAULTS.max_connections, ge=1)
    header_timeout_s: float = Field(default=_DEFAULTS.header_timeout_s, gt=0)
    body_timeout_s: float = Field(default=_DEFAULTS.body_timeout_s, gt=0)
    write_timeout_s: float = Field(default=_DEFAULTS.write_timeout_s, gt=0)
    keep_alive_s: float = Field(default=_DEFAULTS.keep_alive_s, gt=0)
    drain_timeout_s: float = Field(default=_DEFAULTS.drain_timeout_s, ge=0)


def gateway_options(settings: GatewaySettings, *, max_request_bytes: int, personas: Iterable[str]) -> GatewayOptions:
    """Return what a server of the gateway is told.

    Args:
        settings: as they were loaded.
        max_request_bytes: the largest request that the service takes.
        personas: their names.

    Raises:
        ConfigurationError: a key is wrong, or that of two tenants, or their file is wrong.
    """
    given = [(tenant, key.get_secret_value(), "gateway.api_keys") for tenant, key in settings.api_keys.items()]
    if settings.api_keys_file is not None:
        lines = list(_lines(settings.api_keys_file))
        require(bool(lines), f"{settings.api_keys_file}: holds no key", path="gateway.api_keys_file")
        given += [(tenant, key, "gateway.api_keys_file") for tenant, key in lines]
    owners: dict[bytes, str] = {}
    keys = [_key(*each) for each in given]
    for key, (_, _, setting) in zip(keys, given, strict=True):
        owner = owners.setdefault(key.sha256, key.tenant)
        message = f"{owner!r} and {key.tenant!r} have the same key; give each one of its own"
        require(owner == key.tenant, message, path=setting)
    taken = settings.model_dump(exclude={"api_keys", "api_keys_file", "max_body_bytes"})
    return GatewayOptions(
        **taken,
        keys=tuple(keys),
        personas=tuple(personas),
        max_body_bytes=settings.max_body_bytes or _ESCAPED * max_request_bytes,
    )


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(read_secret_file(path, setting="gateway.api_keys_file").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2:
            message = f"{path}: line {number} must be a tenant and its key"
            raise ConfigurationError(message, path="gateway.api_keys_file")
        yield words[0], words[1]


def _key(tenant: str, key: str, setting: str) -> ApiKey:
    require(
        0 < len(tenant) <= MAX_TENANT_CHARS, f"a tenant's name has 1 to {MAX_TENANT_CHARS} characters", path=setting
    )
    if digest := _DIGEST.fullmatch(key):
        return ApiKey(tenant=tenant, sha256=bytes.fromhex(digest[1]))
    require(
        len(key) >= _MIN_KEY_CHARS and not key.startswith("sha256:"),
        f"the key of {tenant!r} must be at least {_MIN_KEY_CHARS} characters, or sha256: and 64 hexadecimal digits",
        path=setting,
    )
    return ApiKey(tenant=tenant, sha256=hashlib.sha256(key.encode()).digest())
