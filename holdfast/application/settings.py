"""Everything that can be set, where it comes from, and what is wrong with it.

Responsibility: merge the sources into one validated, frozen value, and tell which source each setting came from.
Guarantees: an unknown key is refused with the nearest valid one named; each mechanism validates its own numbers, so a
    setting is refused for the same reason as the constructor's argument; nothing is read before `load_settings` is
    called.
Not responsible for: what the numbers mean: each field's own class documents that.

Sources, the last one wins: defaults, ``[tool.holdfast]`` in pyproject.toml, holdfast.toml, the environment
(``HOLDFAST_GUARD__BREAKER__FAILURE_RATIO=0.3``), arguments.
"""

from __future__ import annotations

import difflib
import os
import tomllib
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeGuard

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from holdfast.application.batch_config import BatchConfig
from holdfast.application.prompt_settings import PersonaSettings, ValidatorSettings
from holdfast.application.section import Section
from holdfast.domain.adaptive_limit import AdaptiveLimitConfig
from holdfast.domain.admission import AdmissionConfig
from holdfast.domain.authentication_config import AuthenticationConfig
from holdfast.domain.circuit_breaker import BreakerConfig
from holdfast.domain.deduplicator import DeduplicationConfig
from holdfast.domain.event_hub import EventConfig
from holdfast.domain.hedge import HedgeConfig
from holdfast.domain.pool import PoolConfig
from holdfast.domain.rate_limit_config import RateLimitConfig
from holdfast.domain.retry_budget import RetryBudgetConfig
from holdfast.domain.retry_policy import RetryPolicy
from holdfast.domain.route_choice import RoutingConfig
from holdfast.domain.session import SessionConfig
from holdfast.domain.stream_outlet import StreamingConfig
from holdfast.ports.errors import ConfigurationError

__all__ = [
    "BackendSettings",
    "ExtractiveSettings",
    "GuardSettings",
    "IdentitySettings",
    "LoadedSettings",
    "RetrievalSettings",
    "ScriptedSettings",
    "SessionSettings",
    "Settings",
    "TenantSettings",
    "flatten",
    "load_settings",
]

_PREFIX: Final = "HOLDFAST_"
_DELIMITER: Final = "__"


class GuardSettings(Section):
    """What stands around each backend.

    Args:
        attempt_timeout_s: seconds one attempt may take, or until the first piece of one that streams; default 30,
            unmeasured.
        stream_idle_timeout_s: seconds between two pieces of an attempt that streams; those for which a slow reader
            keeps the backend waiting do not count; default 30, unmeasured.
        retry: when a failed attempt is tried again.
        retry_budget: how much of its load may be retries, and second attempts of hedged calls.
        hedge: asks it a second time when it is slower than usual; None, the default, does not.
        breaker: when the backend is left alone for a while.
        rate_limit: how many requests and tokens it gets in a minute; None, the default, for no limit.
        pool: how many calls it gets at once.
    """

    attempt_timeout_s: float = Field(default=30.0, gt=0)
    stream_idle_timeout_s: float = Field(default=30.0, gt=0)
    retry: RetryPolicy = RetryPolicy()
    retry_budget: RetryBudgetConfig = RetryBudgetConfig()
    hedge: HedgeConfig | None = None
    breaker: BreakerConfig = BreakerConfig()
    rate_limit: RateLimitConfig | None = None
    pool: PoolConfig = PoolConfig()


class ExtractiveSettings(Section):
    """The embedded backend: answers with sentences of the retrieved passages."""

    kind: Literal["extractive"] = "extractive"
    guard: GuardSettings | None = None


class ScriptedSettings(Section):
    """A backend that does the same for every prompt, for drills and load tests.

    Args:
        reply: the text of every answer.
        delay_s: seconds before each answer or fault.
        fault: how every call fails instead; throttled asks for 1 s, hang never answers.
    """

    kind: Literal["scripted"]
    reply: str = "scripted reply"
    delay_s: float = Field(default=0.0, ge=0)
    fault: Literal["unavailable", "throttled", "protocol", "request", "authentication", "hang"] | None = None
    guard: GuardSettings | None = None


BackendSettings = Annotated[ExtractiveSettings | ScriptedSettings, Field(discriminator="kind")]
"""One backend, by its kind; its own guard, if any, replaces the common one."""


class RetrievalSettings(Section):
    """Where answers come from.

    Args:
        folder: the documents; None leaves retrieval out.
        include: which files, as glob patterns below the folder.
        index: the index file, made when missing; None keeps it in memory.
        limit: passages for each request; default 10, of at most 1500 characters each, which one prompt has room for.
    """

    folder: Path | None = None
    include: tuple[str, ...] = ("**/*.md", "**/*.txt")
    index: Path | None = None
    limit: int = Field(default=10, ge=1)


class TenantSettings(Section):
    """One tenant.

    Args:
        rate_limit: how many requests and tokens it gets in a minute; None for no limit, not even the common one.
    """

    rate_limit: RateLimitConfig | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings(SessionConfig):
    """How much is kept of conversations, for how long, and where.

    Args:
        database: the SQLite file that they are kept in, made when missing; several processes may share it. None, the
            default, keeps them in memory, for as long as the process lives.
    """

    database: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySettings(AuthenticationConfig):
    """Who the service is to those who prove who they are, and whom it believes.

    Args:
        key_file: its private key, as ``holdfast identity new`` makes it.
        trust_file: who is trusted, as ``holdfast identity trust`` writes it; read for each message.
    """

    key_file: Path
    trust_file: Path


class Settings(Section):
    """The whole configuration.

    Args:
        timeout_s: deadline of a request that names none, in seconds; default 60, unmeasured.
        max_request_bytes: the largest request taken, its texts as UTF-8; default 1 MiB, unmeasured.
        max_in_flight: requests worked on at once; default 20, the initial limit of Netflix' concurrency-limits.
        adaptive_limit: lets the latencies of the requests decide, in place of `max_in_flight`, how many are worked on
            at once; None, the default, does not.
        tenants: those tenants that differ from the others, by name.
        tenant_rate_limit: how many requests and tokens each of the others gets in a minute; None, the default, for no
            limit. Duplicates that share an answer take nothing of it.
        admission: the queue in front of them.
        deduplication: how identical requests share one answer.
        streaming: what may pile up between a backend and those who read its answer.
        sessions: the conversations that requests can go on with.
        retrieval: where answers come from.
        guard: what stands around each backend that has no guard of its own.
        backends: the backends by name, in the order in which they are tried.
        routing: which of them is tried first, where it is not always the same.
        prompts: the instructions of personas, by a name of your own.
        personas: by the name under which a request chooses one; default none.
        validators: what answers have to pass, by a name of your own, in the order in which they are asked. One that no
            persona names checks every answer; default none.
        identity: who the service is to those who prove who they are; None, the default, for no such service.
        batch: how files of requests are run.
        events: how much of what was decided is remembered.
        log_events: log each event too, by the logger ``holdfast.events`` of the standard library, which needs a level
            and a handler; default no.
    """

    timeout_s: float = Field(default=60.0, gt=0)
    max_request_bytes: int = Field(default=1024 * 1024, ge=1)
    max_in_flight: int = Field(default=20, ge=1)
    adaptive_limit: AdaptiveLimitConfig | None = None
    tenants: dict[str, TenantSettings] = Field(default={})
    tenant_rate_limit: RateLimitConfig | None = None
    admission: AdmissionConfig = AdmissionConfig()
    deduplication: DeduplicationConfig = DeduplicationConfig()
    streaming: StreamingConfig = StreamingConfig()
    sessions: SessionSettings = SessionSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    guard: GuardSettings = GuardSettings()
    backends: dict[str, BackendSettings] = Field(default={"extractive": ExtractiveSettings()}, min_length=1)
    routing: RoutingConfig = RoutingConfig()
    prompts: dict[str, str] = Field(default={})
    personas: dict[str, PersonaSettings] = Field(default={})
    validators: dict[str, ValidatorSettings] = Field(default={})
    identity: IdentitySettings | None = None
    batch: BatchConfig = BatchConfig()
    events: EventConfig = EventConfig()
    log_events: bool = False


class _InEnvironment(Settings, BaseSettings):
    # Only to say how variables are named; it is never made.
    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_nested_delimiter=_DELIMITER)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSettings:
    """Settings, and where each one came from.

    Args:
        settings: the merged and validated value.
        sources: the source of every setting that is not a default, by dotted path.
    """

    settings: Settings
    sources: Mapping[str, str]


def load_settings(folder: Path | None = None, arguments: Mapping[str, Any] | None = None) -> LoadedSettings:
    """Read every source and return the merged settings.

    Args:
        folder: where pyproject.toml and holdfast.toml are looked for; None for the current folder.
        arguments: nested settings that win over every other source.

    Raises:
        ConfigurationError: for the first setting that is wrong; the others are in its notes.
    """
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, values in _layers(folder if folder is not None else Path(), arguments or {}):
        merged = _merge(merged, values)
        sources |= dict.fromkeys((path for path, _ in flatten(values)), source)
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise _refusal(error.errors(), sources) from error
    _refuse_switches(merged, settings, sources)
    return LoadedSettings(settings=settings, sources=sources)


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
            raise ConfigurationError(f"must be a number, not {value!r}{_from(sources, path.split('.'))}", path=path)


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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"is not valid TOML: {error}", path=str(path)) from error
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", path=str(path)) from error


def _read_environment() -> dict[str, Any]:
    for variable in os.environ:
        if variable.upper().startswith(_PREFIX):
            name = variable[len(_PREFIX) :].lower().split(_DELIMITER)[0]
            if name not in Settings.model_fields:
                nearest = _nearest(name, Settings.model_fields)
                raise ConfigurationError(
                    "is not a setting (environment)",
                    path=variable,
                    nearest=_PREFIX + nearest.upper() if nearest else None,
                )
    try:
        return EnvSettingsSource(_InEnvironment)()
    except SettingsError as error:
        raise ConfigurationError(f"{error}; give JSON, or one variable for each key", path=_PREFIX + "*") from error


def _is_section(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)


def _refusal(problems: list[ErrorDetails], sources: Mapping[str, str]) -> ConfigurationError:
    refusals = [_refusal_of(problem, sources) for problem in problems]
    for other in refusals[1:]:
        refusals[0].add_note(str(other))
    return refusals[0]


def _refusal_of(problem: ErrorDetails, sources: Mapping[str, str]) -> ConfigurationError:
    parts = [str(part) for part in problem["loc"]]
    if _kinds_of(parts[0]) and len(parts) > 2:
        del parts[2]  # backends.<name>.<kind>: pydantic names the chosen kind there, which nobody wrote
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, ConfigurationError):  # raised by a mechanism's own constructor, which knows its last part only
        parts.append(cause.path.rpartition(".")[2])
        message = str(cause).removeprefix(f"{cause.path}: ")
    elif problem["type"].startswith("union_tag_"):
        parts.append("kind")
        kinds = [typing.get_args(kind.model_fields["kind"].annotation)[0] for kind in _kinds_of(parts[0])]
        message = f"must be {' or '.join(map(repr, kinds))}"
    elif problem["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        *parents, unknown = parts
        nearest = _nearest(unknown, _keys_below(parents))
        return ConfigurationError(
            f"is not a setting{_from(sources, parts)}",
            path=".".join(parts),
            nearest=".".join([*parents, nearest]) if nearest else None,
        )
    else:
        message = f"{problem['msg'][:1].lower()}{problem['msg'][1:]}, not {problem['input']!r}"
    return ConfigurationError(f"{message}{_from(sources, parts)}", path=".".join(parts))


def _from(sources: Mapping[str, str], parts: list[str]) -> str:
    source = sources.get(".".join(parts))
    return f" ({source})" if source else ""


def _nearest(unknown: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(unknown, list(known), n=1, cutoff=0.0)), None)


def _keys_below(parents: list[str]) -> list[str]:
    rate_limit = RateLimitConfig(requests_per_minute=1.0)
    everything = Settings(  # with what is off by default
        adaptive_limit=AdaptiveLimitConfig(),
        guard=GuardSettings(rate_limit=rate_limit, hedge=HedgeConfig()),
        tenants={"": TenantSettings(rate_limit=rate_limit)},
        tenant_rate_limit=rate_limit,
        personas={"": PersonaSettings(prompt="")},
        identity=IdentitySettings(audience="-", key_file=Path(), trust_file=Path()),
    )
    tree: dict[str, Any] = everything.model_dump()
    if len(parents) > 1 and (kinds := _kinds_of(parents[0])):
        tree = {key: tree.get(key) for kind in kinds for key in kind.model_fields}
        parents = parents[2:]
    elif len(parents) > 1 and parents[0] in {"tenants", "personas"}:
        tree = tree[parents[0]][""]
        parents = parents[2:]
    for name in parents:
        tree = tree[name]
    return list(tree)


def _kinds_of(section: str) -> tuple[type[Section], ...]:
    """Return the kinds that the entries of a section can be of; none for a section without kinds."""
    kinds = {"backends": BackendSettings, "validators": ValidatorSettings}.get(section)
    return () if kinds is None else typing.get_args(typing.get_args(kinds)[0])
