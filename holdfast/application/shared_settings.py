"""How the store that several processes share is written in the settings.

Responsibility: the section ``shared``: where the store is, what is shared in it, and how it is followed.
Guarantees: no password appears in an error, in a representation or in what ``holdfast doctor`` prints.
Not responsible for: opening it: see `holdfast.application.shared_stores`.

    [shared]
    kind = "redis"
    url = "redis://10.0.0.7:6379/0"
    password_file = "/etc/holdfast/redis-password"
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from holdfast.application.section import Section
from holdfast.domain.shared_answers import SharedAnswersConfig
from holdfast.domain.shared_breaker import SharedBreakerConfig
from holdfast.domain.store_link import StoreLinkConfig
from holdfast.domain.validation import require
from holdfast.ports.errors import ConfigurationError

__all__ = ["REDIS_PORT", "SENTINEL_PORT", "RedisSettings", "SharedSettings", "SqliteSharedSettings", "host_and_port"]

REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
_SCHEMES: Final = ("redis", "rediss", "unix")
_NO_PLACE: Final = "names no HOST:PORT between // and /"


class _SharedSettings(Section):
    """What all of them have in common.

    Args:
        link: how the store is followed, and how it is looked for while it is away.
        breakers: how circuit breakers are shared.
        answers: how identical requests to several processes share one answer.
    """

    link: StoreLinkConfig = StoreLinkConfig()
    breakers: SharedBreakerConfig = SharedBreakerConfig()
    answers: SharedAnswersConfig = SharedAnswersConfig()


class RedisSettings(_SharedSettings):
    """A Redis, alone, behind sentinels or as a cluster; needs the extra ``redis``, and asyncio.

    Give one of `url`, `sentinels` and `cluster`. Sentinels are asked without a password.

    Args:
        url: ``redis://HOST:PORT/DATABASE``, ``rediss://…`` for TLS, or ``unix:///PATH``; without a password.
        sentinels: ``HOST:PORT`` of some of them.
        service: what the sentinels call the primary.
        cluster: ``HOST:PORT`` of some of its nodes.
        database: the number of the database that the sentinels' primary is asked for.
        tls: whether sentinels and primary, or the cluster, are talked to over TLS.
        ca_file: whom the servers' certificates have to be signed by; None, the default, for those that the system
            trusts.
        username: None, the default, for the default user.
        password: None, the default, where none is asked for. Better in the environment
            (``HOLDFAST_SHARED__PASSWORD``) or in `password_file` than in a file that is shared.
        password_file: a file that holds it, which nobody but its owner and one group may read; read when the
            service is opened.
        prefix: what all keys begin with. Services that share it share everything in it, so give those that have
            different backends under the same names, or would answer the same request otherwise, one of their own.
        connect_timeout_s: seconds that connecting may take; default 1, unmeasured.
        command_timeout_s: seconds that an answer may take before the connection is given up; default 1, unmeasured.
            Requests give up earlier: see the time limits of what is shared.
        max_connections: how many questions are under way at once; default 16, unmeasured.
        share: what is shared; default everything. Rates are the limits of backends and tenants, budgets those of
            retries.
    """

    kind: Literal["redis"]
    url: str | None = None
    sentinels: tuple[str, ...] = ()
    service: str | None = Field(default=None, min_length=1)
    cluster: tuple[str, ...] = ()
    database: int = Field(default=0, ge=0)
    tls: bool = False
    ca_file: Path | None = None
    username: str | None = Field(default=None, min_length=1)
    password: SecretStr | None = None
    password_file: Path | None = None
    prefix: str = Field(default="holdfast", pattern=r"^[^{}]+$")
    connect_timeout_s: float = Field(default=1.0, gt=0)
    command_timeout_s: float = Field(default=1.0, gt=0)
    max_connections: int = Field(default=16, ge=1)
    share: tuple[Literal["breakers", "answers", "rates", "budgets", "sessions"], ...] = (
        "breakers",
        "answers",
        "rates",
        "budgets",
        "sessions",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [name for name in ("url", "sentinels", "cluster") if getattr(self, name)]
        require(
            len(given) == 1, f"give one of url, sentinels and cluster, not {' and '.join(given) or 'none'}", path="url"
        )
        require(
            bool(self.sentinels) is (self.service is not None), "goes with sentinels, and they need it", path="service"
        )
        require(
            self.password is None or self.password_file is None,
            "is given besides password; leave one of them out",
            path="password_file",
        )
        for address in self.sentinels:
            host_and_port(address, path="sentinels", default_port=SENTINEL_PORT)
        for address in self.cluster:
            host_and_port(address, path="cluster", default_port=REDIS_PORT)
        if self.url is not None:
            _check_url(self.url)
            require(
                not self.tls or urlsplit(self.url).scheme != "unix", "there is none through a unix socket", path="tls"
            )
        require(
            self.database == 0 or bool(self.sentinels),
            "is for sentinels; a url ends with its own, and a cluster has one only",
            path="database",
        )
        require(
            self.ca_file is None or self.is_encrypted,
            "checks no certificate without tls; leave it out, or use rediss:// or tls",
            path="ca_file",
        )
        return self

    @property
    def is_encrypted(self) -> bool:
        """Whether connections are."""
        return self.tls or urlsplit(self.url or "").scheme == "rediss"


class SqliteSharedSettings(_SharedSettings):
    """An SQLite file, for processes of one machine.

    Args:
        database: the file, made when missing.
        share: what is shared; default everything that this store can keep.
    """

    kind: Literal["sqlite"]
    database: Path
    share: tuple[Literal["breakers", "answers"], ...] = ("breakers", "answers")


SharedSettings = Annotated[RedisSettings | SqliteSharedSettings, Field(discriminator="kind")]
"""The store, by its kind."""


def host_and_port(address: str, *, path: str, default_port: int) -> tuple[str, int]:
    """Return the parts of ``HOST:PORT``.

    Raises:
        ConfigurationError: it is something else.
    """
    try:
        parts = urlsplit(f"//{address}")
        port = parts.port
    except ValueError:  # which may repeat a password
        raise ConfigurationError("each must be HOST:PORT", path=path) from None
    if not parts.hostname or port == 0 or parts.netloc != address or "@" in address:
        raise ConfigurationError("each must be HOST:PORT", path=path)
    return parts.hostname, port or default_port


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:  # which may repeat a password
        raise ConfigurationError(_NO_PLACE, path="url") from None
    require(parts.scheme in _SCHEMES, "must begin with redis://, rediss:// or unix://", path="url")
    require("@" not in parts.netloc, "holds a password or a user; put them into password and username", path="url")
    require(not parts.query and not parts.fragment, "has options behind ? or #; they have settings here", path="url")
    if parts.scheme == "unix":
        require(not parts.netloc and parts.path != "", "must be unix:///PATH", path="url")
    else:
        try:
            host_and_port(parts.netloc, path="url", default_port=REDIS_PORT)
        except ConfigurationError as error:
            raise ConfigurationError(_NO_PLACE, path="url") from error
        require(parts.path.strip("/").isdecimal() or parts.path in {"", "/"}, "must end with /DATABASE", path="url")
