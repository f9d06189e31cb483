"""Parameters in the forms that stores keep them in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

__all__ = ["as_keys", "as_toml"]


def as_keys(values: Mapping[str, object], prefix: str) -> dict[str, str]:
    """Return the keys of Consul and their texts."""
    return {f"{prefix}/{'/'.join(path)}": _text(value) for path, value in _leaves(values)}


def as_toml(values: Mapping[str, object]) -> str:
    """Return the text of a file, with every name in full."""
    return "".join(
        f"{'.'.join(json.dumps(name, ensure_ascii=False) for name in path)} = {json.dumps(value, ensure_ascii=False)}\n"
        for path, value in _leaves(values)
    )


def _leaves(values: Mapping[str, object], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name), value


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
