"""``--backend``, ``--base-url`` and ``--model``.

Responsibility: turn them into settings, so that one server can be asked without a file of settings.
Guarantees: what they say wins over ``--set`` and every file; the other backends of the settings are left out.
Not responsible for: whether there is such a backend, and its key: that stands in the settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from holdfast.ports.errors import ConfigurationError

__all__ = ["choose_backend"]

_KINDS: Final = ("openai", "anthropic")


def choose_backend(
    settings: Mapping[str, Any], *, backend: str | None, base_url: str | None, model: str | None
) -> dict[str, Any]:
    """Return `settings` with what the options say.

    Args:
        settings: nested.
        backend: name of the one backend that is to be used; where it is also a kind that is reached over HTTP, there
            need be none of that name yet.
        base_url: where its server is.
        model: which of its models is asked.

    Raises:
        ConfigurationError: an option says something about a backend, and there is none.

    Example:
        >>> choose_backend({}, backend="openai", base_url="http://127.0.0.1:8080/v1", model=None)["only_backend"]
        'openai'
    """
    if backend is None:
        for option, value in (("--base-url", base_url), ("--model", model)):
            if value is not None:
                raise ConfigurationError("needs --backend, such as --backend openai", path=option)
        return dict(settings)
    chosen = {"base_url": base_url, "model": model}
    said = {key: value for key, value in chosen.items() if value is not None}
    if base_url is not None and backend in _KINDS:
        said["kind"] = backend
    narrowed = {**settings, "only_backend": backend}
    if said:
        backends: Any = settings.get("backends", {})
        narrowed["backends"] = {**backends, backend: {**backends.get(backend, {}), **said}}
    return narrowed
