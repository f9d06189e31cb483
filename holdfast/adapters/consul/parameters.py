"""Consul's key-value store as a store of parameters.

Responsibility: `ParameterStore` over the keys below one prefix: ``PREFIX/guard/attempt_timeout_s`` holds the text of
    the setting ``guard.attempt_timeout_s``.
Guarantees: those of the port; what cannot be a parameter is refused with its key, and its value is not shown; where a
    token may not read the prefix, that is refused, and not taken for an empty store.
Not responsible for: how an agent is asked, and what its refusals mean: see `holdfast.adapters.consul.client`.

A value that is a JSON object, a JSON list or ``null`` is taken for that, and any other one for text, as in a variable
of the environment. Keys that end with a slash are folders, as Consul's own interface makes them, and hold nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from holdfast.adapters.consul.client import ConsulClient, parse_index
from holdfast.ports.errors import StoreRefusedError
from holdfast.ports.parameters import ParameterStore

__all__ = ["ConsulParameters"]

_JSON: Final = ("{", "[", "null")


class ConsulParameters:
    """Reads every key below a prefix in one question.

    Args:
        client: of the agent.
        prefix: of the keys; slashes around it make no difference.
    """

    def __init__(self, client: ConsulClient, prefix: str) -> None:
        self._client = client
        self._prefix = f"{prefix.strip('/')}/"

    @property
    def name(self) -> str:
        """What events and errors call it."""
        return self._client.name

    async def parameters(self, *, index: int, wait_s: float) -> tuple[int | None, Mapping[str, object]]:
        """Return the parameters, once there is something new.

        Raises:
            StoreUnavailableError: the agent does not answer, or has no leader.
            StoreRefusedError: it refuses, for example the token; or a key is no parameter.
        """
        found, entries = await self._client.keys(self._prefix, index=index, wait_s=wait_s)
        if not entries:  # perhaps since the token lost its permission, which is no reason to drop every parameter
            await self._client.require_readable_key(self._prefix)
        values: dict[str, object] = {}
        for entry in entries:
            key = str(entry.get("Key"))
            if not key.endswith("/"):
                self._put(values, key, self._value(key, entry))
        return parse_index(found), values

    def _put(self, values: dict[str, object], key: str, value: object) -> None:
        *sections, name = key.removeprefix(self._prefix).split("/")
        below = values
        for section in sections:
            inner = below.setdefault(section, {})
            if not isinstance(inner, dict):
                raise self._refusal(key, f"{section!r} has a value of its own")
            below = cast("dict[str, object]", inner)
        if name in below:
            raise self._refusal(key, "it is given twice")
        below[name] = value

    def _value(self, key: str, entry: Mapping[str, Any]) -> object:
        value = entry.get("Value")
        try:
            text = "" if value is None else bytes(value).decode()
        except (UnicodeDecodeError, TypeError):
            raise self._refusal(key, "holds no text") from None
        try:
            return json.loads(text) if text.startswith(_JSON) else text
        except ValueError:
            return text  # which only looks like JSON, as "[sic]" does, or has a number of 5000 digits
        except RecursionError:
            raise self._refusal(key, "is nested too deeply") from None

    def _refusal(self, key: str, words: str) -> StoreRefusedError:
        return StoreRefusedError(f"the key {key!r} is no parameter: {words}", store=self.name)


_: type[ParameterStore] = ConsulParameters
