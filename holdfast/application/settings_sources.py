"""Where settings come from.

Responsibility: merge the sources into one validated value, and tell which source each setting came from.
Guarantees: nothing is read before `load_settings` is called; the last source wins, setting by setting; a layer that
    changes later is merged and validated in the same way, in its place among the others.
Not responsible for: what is wrong with a setting, in words: see `holdfast.application.settings_refusal`.

Sources, the last one wins: defaults, ``[tool.holdfast]`` in pyproject.toml, holdfast.toml, the store of parameters that
the others name, the environment (``HOLDFAST_GUARD__BREAKER__FAILURE_RATIO=0.3``), arguments.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Final, TypeGuard, get_type_hints

from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from holdfast.application.settings import Settings
from holdfast.application.settings_refusal import nearest_name, refusal, told_source
from holdfast.ports.errors import ConfigurationError

__all__ = ["LoadedSettings", "flatten", "load_settings"]

_PREFIX: Final = "HOLDFAST_"
_FIELD: Final = re.compile(r'field "(\w+)"')  # as pydantic says which one it could not read
_DELIMITER: Final = "__"
_PARAMETERS: Final = "parameters"
_BEFORE_PARAMETERS: Final = {
    _PARAMETERS: "says where parameters come from",
    "identity": "belongs to one machine and is read before the parameters",
}
_ABOVE_PARAMETERS: Final = frozenset({"environment", "arguments"})


class _InEnvironment(Settings, BaseSettings):
    # Only to say how variables are named; it is never made.
    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_nested_delimiter=_DELIMITER)


class _Environment(EnvSettingsSource):
    """Also reads JSON from a variable of one field of a mechanism's own configuration."""

    def next_field(self, field: Any, key: str, case_sensitive: bool | None = None) -> Any:  # noqa: ANN401, FBT001 - as overridden
        """Return the field of that name below `field`, or its type; None if there is none."""
        found = super().next_field(field, key, case_sensitive)
        section = getattr(field, "annotation", field)
        # A dataclass of ours is none of pydantic's, which is all that it looks into.
        return get_type_hints(section).get(key) if found is None and is_dataclass(section) else found


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSettings:
    """Settings, and where each one came from.

    Args:
        settings: the merged and validated value.
        sources: the source of every setting that is not a default, by dotted path.
        layers: what each source said, by its name, the one that wins last; None for settings that were made in code,
            whose sections count as arguments.
    """

    settings: Settings
    sources: Mapping[str, str]
    layers: tuple[tuple[str, Mapping[str, Any]], ...] | None = field(
        default=None, repr=False
    )  # secrets as they were written

    def with_parameters(self, values: Mapping[str, object]) -> LoadedSettings:
        """Return these settings when a store of parameters holds `values`, by section and name.

        Raises:
            ConfigurationError: for the first setting that is wrong; the others are in its notes.
        """
        for section, why in _BEFORE_PARAMETERS.items():
            if section in values:
                raise ConfigurationError(f"{why}, and cannot be one of them ({_PARAMETERS})", path=section)
        others = [layer for layer in self.said if layer[0] != _PARAMETERS]
        above = [layer for layer in others if layer[0] in _ABOVE_PARAMETERS]
        return _combined([*others[: len(others) - len(above)], (_PARAMETERS, values), *above])

    def paths_changed_since(self, before: LoadedSettings) -> list[str]:
        """Return the dotted paths of what the sources say otherwise than before, in order."""
        now, then = dict(flatten(_merged(self.said))), dict(flatten(_merged(before.said)))
        absent = object()
        return sorted(path for path in now.keys() | then.keys() if now.get(path, absent) != then.get(path, absent))

    @property
    def has_parameters(self) -> bool:
        """Whether a store of parameters was read for them, which may have held none."""
        return any(name == _PARAMETERS for name, _ in self.said)

    @property
    def said(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """What each source said; settings that were made in code, section by section as they are."""
        if self.layers is not None:
            return self.layers
        given = {name: getattr(self.settings, name) for name in self.settings.model_fields_set}
        return (("arguments", given),)


def load_settings(folder: Path | None = None, arguments: Mapping[str, Any] | None = None) -> LoadedSettings:
    """Read every source and return the merged settings.

    Args:
        folder: where pyproject.toml and holdfast.toml are looked for; None for the current folder.
        arguments: nested settings that win over every other source.

    Raises:
        ConfigurationError: for the first setting that is wrong; the others are in its notes.
    """
    return _combined(list(_layers(folder if folder is not None else Path(), arguments or {})))


def _merged(layers: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for _, values in layers:
        merged = _merge(merged, values)
    return merged


def _combined(layers: list[tuple[str, Mapping[str, Any]]]) -> LoadedSettings:
    merged = _merged(layers)
    sources: dict[str, str] = {}
    for source, values in layers:
        sources |= dict.fromkeys((path for path, _ in flatten(values)), source)
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise refusal(error.errors(), sources) from None  # which repeats what was given, secrets too
    _refuse_switches(merged, settings, sources)
    return LoadedSettings(settings=settings, sources=sources, layers=tuple(layers))


def flatten(values: Mapping[str, Any], parent: str = "") -> Iterator[tuple[str, object]]:
    """Yield each setting of a nested mapping as its dotted path and its value."""
    for key, value in values.items():
        path = f"{parent}.{key}" if parent else key
        if _is_section(value):
            yield from flatten(value, path)
        else:
            yield path, value


def _refuse_switches(given: Mapping[str, Any], settings: Settings, sources: Mapping[str, str]) -> None:
    # Text stands for numbers in the environment, so pydantic is lenient, and then takes true for 1.
    taken = dict(flatten(settings.model_dump()))
    for path, value in flatten(given):
        if isinstance(value, bool) and isinstance(taken.get(path), (int, float)) and taken[path] is not value:
            raise ConfigurationError(
                f"must be a number, not {value!r}{told_source(sources, path.split('.'))}", path=path
            )


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if _is_section(below) and _is_section(value) else value
    return merged


def _layers(folder: Path, arguments: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "pyproject.toml", _tool_section(_read_toml(folder / "pyproject.toml"))
    yield "holdfast.toml", _read_toml(folder / "holdfast.toml")
    yield "environment", _read_environment()
    yield "arguments", arguments


def _tool_section(project: Mapping[str, Any]) -> Mapping[str, Any]:
    section = project
    for path in ("tool", "tool.holdfast"):
        below = section.get(path.rpartition(".")[2], {})
        if not _is_section(below):
            raise ConfigurationError(f"must be a table, not {below!r} (pyproject.toml)", path=path)
        section = below
    return section


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:  # also for what is TOML: a number of 5000 digits, deep nesting
        raise ConfigurationError(f"is not valid TOML: {error}", path=str(path)) from error
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", path=str(path)) from error


def _read_environment() -> dict[str, Any]:
    for variable in os.environ:
        if variable.upper().startswith(_PREFIX):
            name = variable[len(_PREFIX) :].lower().split(_DELIMITER)[0]
            if name not in Settings.model_fields:
                nearest = nearest_name(name, Settings.model_fields)
                raise ConfigurationError(
                    "is not a setting (environment)",
                    path=variable,
                    nearest=_PREFIX + nearest.upper() if nearest else None,
                )
    try:
        return _Environment(_InEnvironment)()
    except SettingsError as error:
        field = _FIELD.search(str(error))
        variable = _PREFIX + (field[1].upper() if field else "*")
        raise ConfigurationError("is no JSON; mend it, or give one variable for each key", path=variable) from None


def _is_section(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)
