"""What is wrong with a setting, in one line.

Responsibility: turn what pydantic found into `ConfigurationError`.
Guarantees: a refusal has the dotted path as the user writes it, and its source; that of an unknown key has the nearest
    valid one. No secret is repeated, and no address or section, in which one may stand.
Not responsible for: reading settings: see `holdfast.application.settings_sources`.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic_core import ErrorDetails

from holdfast.application.parameter_settings import ParameterSettings, TomlParameterSettings
from holdfast.application.problem_words import words_of
from holdfast.application.prompt_settings import PersonaSettings, ValidatorSettings
from holdfast.application.registry_settings import FileRegistrySettings, RegistrationSettings, RegistrySettings
from holdfast.application.section import Section
from holdfast.application.settings import BackendSettings, GuardSettings, IdentitySettings, Settings, TenantSettings
from holdfast.application.shared_settings import SharedSettings, SqliteSharedSettings
from holdfast.domain.adaptive_limit import AdaptiveLimitConfig
from holdfast.domain.hedge import HedgeConfig
from holdfast.domain.rate_limit_config import RateLimitConfig
from holdfast.ports.errors import ConfigurationError

__all__ = ["nearest_name", "refusal", "told_source"]


_ADDRESSES: Final = {"address", "base_url", "cluster", "sentinels", "service_url", "url"}
_SECRETS: Final = {"api_key", "api_keys", "token", "password"} | _ADDRESSES
"""Sections and settings whose values are never shown; a password may stand in an address."""
_MAX_SHOWN: Final = 200
"""Characters of a value that are shown; unmeasured."""


def refusal(problems: list[ErrorDetails], sources: Mapping[str, str]) -> ConfigurationError:
    """Return the refusal of the first problem, with the others in its notes.

    Args:
        problems: at least one.
        sources: of each setting, by its dotted path.
    """
    refusals = [_refusal_of(problem, sources) for problem in problems]
    for other in refusals[1:]:
        refusals[0].add_note(str(other))
    return refusals[0]


def _refusal_of(problem: ErrorDetails, sources: Mapping[str, str]) -> ConfigurationError:
    parts = [str(part) for part in problem["loc"]]
    chosen: str | None = None
    kind_at = _kind_at(parts[0])
    if _kinds_of(parts[0]) and len(parts) > kind_at:
        chosen = parts.pop(kind_at)  # pydantic names the chosen kind there, which nobody wrote
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, ConfigurationError):  # raised by a mechanism's own constructor, which knows its last part only
        own_section, _, name = cause.path.rpartition(".")
        whole_section = ".".join(parts)
        parts.append(name)
        message = re.sub(
            rf"(?<![\w.]){re.escape(own_section)}\.(?=\w)",
            lambda _: f"{whole_section}.",
            str(cause).removeprefix(f"{cause.path}: "),
        )
    elif problem["type"].startswith("union_tag_"):
        parts.append("kind")
        kinds = " or ".join(map(repr, _kinds_of(parts[0])))
        message = f"is missing; set it to {kinds}" if problem["type"] == "union_tag_not_found" else f"must be {kinds}"
    elif problem["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        *parents, unknown = parts
        nearest = nearest_name(unknown, _keys_below(parents, chosen))
        return ConfigurationError(
            f"is not a setting{told_source(sources, parts)}",
            path=".".join(parts),
            nearest=".".join([*parents, nearest]) if nearest else None,
        )
    elif problem["type"] in {"missing", "missing_keyword_only_argument"}:
        message = "is missing, and has no default"
    else:
        message = f"{words_of(problem)}{_shown(problem['input'], parts)}"
    return ConfigurationError(f"{message}{told_source(sources, parts)}", path=".".join(parts))


def _shown(given: object, parts: list[str]) -> str:
    """Return what was given at a path, to be put behind a message; nothing where it is, or may hold, a secret."""
    if _SECRETS & set(parts) or isinstance(given, Mapping | list | tuple):
        return ""
    text = repr(given)
    return f", not {text if len(text) <= _MAX_SHOWN else f'{text[:_MAX_SHOWN]}…'}"


def told_source(sources: Mapping[str, str], parts: list[str]) -> str:
    """Return where the setting at a path came from, to be put behind a message; nothing if it is a default."""
    source = sources.get(".".join(parts))
    return f" ({source})" if source else ""


def nearest_name(unknown: str, known: Iterable[str]) -> str | None:
    """Return which of the known names is most like `unknown`; None if there are none."""
    return next(iter(difflib.get_close_matches(unknown, list(known), n=1, cutoff=0.0)), None)


def _keys_below(parents: list[str], chosen: str | None) -> list[str]:
    rate_limit = RateLimitConfig(requests_per_minute=1.0)
    everything = Settings(  # with what is off by default
        adaptive_limit=AdaptiveLimitConfig(),
        guard=GuardSettings(rate_limit=rate_limit, hedge=HedgeConfig()),
        tenants={"": TenantSettings(rate_limit=rate_limit)},
        tenant_rate_limit=rate_limit,
        personas={"": PersonaSettings(prompt="")},
        parameters=TomlParameterSettings(kind="toml", path=Path()),
        registry=FileRegistrySettings(
            kind="file", path=Path(), registration=RegistrationSettings(service="-", host="-", port=1)
        ),
        shared=SqliteSharedSettings(kind="sqlite", database=Path()),
        identity=IdentitySettings(audience="-", key_file=Path(), trust_file=Path()),
    )
    tree: dict[str, Any] = everything.model_dump()
    if chosen is not None:
        kind_at = _kind_at(parents[0])
        fields = _kinds_of(parents[0])[chosen].model_fields
        known = tree if kind_at == 2 else tree[parents[0]]
        tree = {key: known.get(key) or _fields_of(field.default) for key, field in fields.items()}
        parents = parents[kind_at:]
    elif len(parents) > 1 and parents[0] in {"tenants", "personas"}:
        tree = tree[parents[0]][""]
        parents = parents[2:]
    for name in parents:
        tree = tree[name]
    return list(tree)


def _fields_of(value: object) -> dict[str, Any] | None:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else None


def _kind_at(section: str) -> int:
    """Return where the kind comes in a path: ``registry`` is one of its kinds, ``backends`` has one for each name."""
    return 1 if section in {"parameters", "registry", "shared"} else 2


def _kinds_of(section: str) -> dict[str, type[Section]]:
    """Return the kinds that a section or its entries can be of, by name; none for a section without kinds."""
    kinds = {
        "backends": BackendSettings,
        "validators": ValidatorSettings,
        "parameters": ParameterSettings,
        "registry": RegistrySettings,
        "shared": SharedSettings,
    }.get(section)
    classes: tuple[type[Section], ...] = () if kinds is None else typing.get_args(typing.get_args(kinds)[0])
    return {typing.get_args(kind.model_fields["kind"].annotation)[0]: kind for kind in classes}
