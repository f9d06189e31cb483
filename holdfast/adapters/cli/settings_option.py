"""``--set PATH=VALUE``.

Responsibility: turn such options into the nested mapping that settings are loaded from.
Guarantees: a later option wins over an earlier one; an option without ``=`` is refused by name. No value
    is repeated: it may be a secret.
Not responsible for: whether the path exists and the value fits: the settings say that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeGuard

from holdfast.ports.errors import ConfigurationError

__all__ = ["parse_settings"]


def parse_settings(options: Iterable[str]) -> dict[str, Any]:
    """Return the nested mapping that `options` describe; a value that is JSON is taken as such, any other as text.

    Raises:
        ConfigurationError: if an option has no ``=``, a part of its path is empty, or it goes below one that was given
            a value.

    Example:
        >>> parse_settings(["guard.breaker.open_s=10", "backends.a.kind=scripted"])
        {'guard': {'breaker': {'open_s': 10}}, 'backends': {'a': {'kind': 'scripted'}}}
    """
    nested: dict[str, Any] = {}
    for option in options:
        path, equals, text = option.partition("=")
        *parents, last = path.split(".")
        if not equals or not all((*parents, last)):
            raise ConfigurationError("give it as PATH=VALUE, such as timeout_s=10", path=f"--set {path}")
        section = nested
        for parent in parents:
            below = section.setdefault(parent, {})
            if not _is_section(below):
                raise ConfigurationError(f"{parent!r} was already given a value", path=f"--set {path}")
            section = below
        section[last] = _value(text)
    return nested


def _is_section(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)  # and its keys are text: those of JSON always are


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # not JSON, or no JSON that anyone means: a number of 5000 digits
        return text
