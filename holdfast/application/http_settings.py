"""Backends that are reached over HTTP, as they can be set, and made.

Responsibility: one validated, frozen value for each, and from it to the provider of its instances.
Guarantees: a key is never shown; an address that holds one, a key that could not be sent, and a file of a key that
    others may read are refused in one line.
Not responsible for: how a server is asked: see `holdfast.adapters.inference.http`.

In TOML:

    [backends.local]
    kind = "openai"
    base_url = "http://127.0.0.1:8080/v1"
    api_key_file = "llama.key"
    http = { connect_timeout_s = 2.0 }
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, Self, assert_never

from pydantic import Field, SecretStr, model_validator

from holdfast.adapters.files.secret_file import read_secret_file
from holdfast.adapters.inference.http import HttpBackendProvider, HttpConfig, checked_address, checked_key
from holdfast.adapters.inference.http.dialect import Dialect
from holdfast.application.guard_settings import GuardSettings
from holdfast.application.section import Section
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.registry import ServiceInstance

__all__ = [
    "AnthropicSettings",
    "HttpBackendSettings",
    "OpenAISettings",
    "make_http_provider",
    "make_service_provider",
]

_ADDRESS: Final = "{address}"
_HOST: Final = re.compile(r"[A-Za-z0-9._:-]+")


class HttpBackendSettings(Section):
    """What all of them have in common; needs the extra ``openai``.

    Args:
        base_url: where the server is, with the path in front of those of its API, such as
            ``http://127.0.0.1:8080/v1``; None for `service`.
        service: under what the registry knows the servers, in place of `base_url`; each instance is asked as a backend
            of its own, and gets the key. Needs ``registry``.
        service_url: how an instance is asked, with ``{address}`` for its host and port; default
            ``http://{address}/v1``.
        api_key: proves who asks; default none. Better kept in a file.
        api_key_file: the file that it stands in, which nobody but its owner and one group may read; read when the
            service is opened. Default none.
        always_streams: have answers streamed also where they are wanted whole, because some servers, llama-server among
            them, notice only then at once that their caller has left, and free its place; default yes. What cannot
            stream answers whole nonetheless.
        http: what one exchange with the server may take.
        guard: what stands around it; None, the default, for the common one.
    """

    base_url: str | None = None
    service: str | None = Field(default=None, min_length=1)
    service_url: str = f"http://{_ADDRESS}/v1"
    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    always_streams: bool = True
    http: HttpConfig = HttpConfig()
    guard: GuardSettings | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.base_url is not None:
            checked_address(self.base_url, path="base_url")
            if self.service is not None:
                raise ConfigurationError("is given besides base_url; leave one of them out", path="service")
        elif self.service is None:
            raise ConfigurationError("is missing, and so is service; set one of them", path="base_url")
        if _ADDRESS not in self.service_url:
            raise ConfigurationError(f"must have {_ADDRESS} in it", path="service_url")
        checked_address(self.service_url.replace(_ADDRESS, "127.0.0.1:80"), path="service_url")
        if self.api_key is not None:
            checked_key(self.api_key.get_secret_value(), path="api_key")
            if self.api_key_file is not None:
                raise ConfigurationError("is given besides api_key; leave one of them out", path="api_key_file")
        return self

    def key(self, name: str) -> str | None:
        """Return the key of the backend of this name; None if there is none.

        Raises:
            ConfigurationError: its file cannot be used.
        """
        if self.api_key_file is not None:
            path = f"backends.{name}.api_key_file"
            return checked_key(read_secret_file(self.api_key_file, setting=path).strip(), path=path)
        return None if self.api_key is None else self.api_key.get_secret_value()


class OpenAISettings(HttpBackendSettings):
    """A server that speaks as OpenAI's chat completions do, such as llama-server, vLLM or OpenAI itself.

    Args:
        model: for requests that name none; None, the default, lets the server choose.
        max_tokens: for requests that set no bound to their answer; None, the default, for that of the server.
    """

    kind: Literal["openai"]
    model: str | None = Field(default=None, min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)


class AnthropicSettings(HttpBackendSettings):
    """A server that speaks as Anthropic's Messages API does.

    Args:
        model: for requests that name none.
        max_tokens: for requests that set no bound to their answer, which the API wants to know; default 4096,
            unmeasured.
    """

    kind: Literal["anthropic"]
    model: str = Field(min_length=1)
    max_tokens: int = Field(default=4096, ge=1)


def make_http_provider(name: str, chosen: OpenAISettings | AnthropicSettings) -> HttpBackendProvider:
    """Return what makes the instances of the backend of this name, whose `base_url` is set.

    Raises:
        ConfigurationError: its key cannot be read, or no driver is installed.
    """
    return _provider(name, chosen, chosen.base_url or "", path=f"backends.{name}.base_url", key=chosen.key(name))


def make_service_provider(
    name: str, chosen: OpenAISettings | AnthropicSettings
) -> Callable[[ServiceInstance], HttpBackendProvider]:
    """Return what makes the provider of each instance of the backend of this name, whose `service` is set.

    Raises:
        ConfigurationError: its key cannot be read. Raised by what is returned: the address of the instance is none, or
            no driver is installed.
    """
    key = chosen.key(name)

    def make(instance: ServiceInstance) -> HttpBackendProvider:
        path = f"backends.{name}.service"
        # Whoever may register might also let the key go elsewhere, by an address that is more than one.
        if not _HOST.fullmatch(instance.host):
            raise ConfigurationError("an instance has no name or address as its host", path=path)
        url = chosen.service_url.replace(_ADDRESS, instance.address)
        return _provider(f"{name}@{instance.address}", chosen, url, path=path, key=key)

    return make


def _provider(
    name: str, chosen: OpenAISettings | AnthropicSettings, url: str, *, path: str, key: str | None
) -> HttpBackendProvider:
    return HttpBackendProvider(
        name,
        checked_address(url, path=path),
        _dialect(chosen),
        api_key=key,
        config=chosen.http,
        always_streams=chosen.always_streams,
    )


def _dialect(chosen: OpenAISettings | AnthropicSettings) -> Dialect:
    match chosen:
        case OpenAISettings():
            from holdfast.adapters.inference.openai import OpenAIDialect  # noqa: PLC0415 - loaded when it is chosen

            return OpenAIDialect(model=chosen.model, max_tokens=chosen.max_tokens)
        case AnthropicSettings():
            from holdfast.adapters.inference.anthropic import AnthropicDialect  # noqa: PLC0415 - as above

            return AnthropicDialect(model=chosen.model, max_tokens=chosen.max_tokens)
        case _:
            assert_never(chosen)
