"""Everything that can be set.

Responsibility: one validated, frozen value for each part of the library, and all of them together.
Guarantees: each mechanism validates its own numbers, so a setting is refused for the same reason as the constructor's
    argument.
Not responsible for: what the numbers mean: each field's own class documents that; where they come from: see
    `holdfast.application.settings_sources`; what contradicts what: see `holdfast.application.consistency`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from holdfast.application.batch_config import BatchConfig
from holdfast.application.gateway_settings import GatewaySettings
from holdfast.application.guard_settings import GuardSettings
from holdfast.application.host_settings import ClaudeAgentSettings, LlamaCppSettings
from holdfast.application.http_settings import AnthropicSettings, OpenAISettings
from holdfast.application.parameter_settings import ParameterSettings
from holdfast.application.prompt_settings import PersonaSettings, ValidatorSettings
from holdfast.application.registry_settings import RegistrySettings
from holdfast.application.section import Section
from holdfast.application.shared_settings import SharedSettings
from holdfast.application.telemetry_settings import TelemetrySettings
from holdfast.domain.adaptive_limit import AdaptiveLimitConfig
from holdfast.domain.admission import AdmissionConfig
from holdfast.domain.authentication_config import AuthenticationConfig
from holdfast.domain.deduplicator import DeduplicationConfig
from holdfast.domain.event_hub import EventConfig
from holdfast.domain.host_guard import HostGuardConfig
from holdfast.domain.model_slot_config import ModelSlotConfig
from holdfast.domain.rate_limit_config import RateLimitConfig
from holdfast.domain.route_choice import RoutingConfig
from holdfast.domain.session import SessionConfig
from holdfast.domain.stream_outlet import StreamingConfig

__all__ = [
    "AnthropicSettings",
    "BackendSettings",
    "ClaudeAgentSettings",
    "ExtractiveSettings",
    "GuardSettings",
    "IdentitySettings",
    "LlamaCppSettings",
    "OpenAISettings",
    "RetrievalSettings",
    "ScriptedSettings",
    "SessionSettings",
    "Settings",
    "TenantSettings",
]


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
        model_bytes: lets it answer only once a model of so many bytes is loaded. The host guard and the model slots
            treat it as any other, but nothing is allocated: a drill must not take down the machine that it runs on.
            None, the default, for no model.
    """

    kind: Literal["scripted"]
    reply: str = "scripted reply"
    delay_s: float = Field(default=0.0, ge=0)
    fault: Literal["unavailable", "throttled", "protocol", "request", "authentication", "hang"] | None = None
    model_bytes: int | None = Field(default=None, ge=1)
    guard: GuardSettings | None = None


BackendSettings = Annotated[
    ExtractiveSettings | ScriptedSettings | OpenAISettings | AnthropicSettings | ClaudeAgentSettings | LlamaCppSettings,
    Field(discriminator="kind"),
]
"""One backend, by its kind; its own guard, if any, replaces the common one."""


class RetrievalSettings(Section):
    """Where answers come from.

    Args:
        folder: the documents; None leaves retrieval out.
        include: which files, as glob patterns below the folder.
        index: the index file, made when missing; None keeps it in memory.
        limit: passages for each request, 1000 at most; default 10, of at most 1500 characters each, which one prompt
            has room for.
    """

    folder: Path | None = None
    include: tuple[str, ...] = ("**/*.md", "**/*.txt")
    index: Path | None = None
    limit: int = Field(default=10, ge=1, le=1000)


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
        max_memory_bytes: what the requests inside, the answers kept for duplicates and the sessions kept in memory may
            take together; answers are dropped for a request, and what still does not fit is refused. A request counts
            24 KiB and twice its texts. Default 2 GiB, twice what the sessions may take; unmeasured.
        max_in_flight: requests worked on at once; default 10, as many as the pool of one backend has resources: whoever
            waits there is refused after ``guard.pool.acquire_timeout_s``, and here not before its deadline.
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
        only_backend: the name of the one that is used, as if there were no others; None, the default, for all of them.
        routing: which of them is tried first, where it is not always the same.
        models: how many models are in memory at once, for backends that have to be loaded.
        host_guard: how much memory of the machine no model may take.
        parameters: where settings are kept for many processes, and followed while this one runs; None, the default, for
            nowhere. They win over files, and the environment wins over them.
        registry: where this process is registered and backends are discovered; None, the default, for nowhere.
        shared: the store that several processes share, and what they share in it; None, the default, for nothing.
        prompts: the instructions of personas, by a name of your own.
        personas: by the name under which a request chooses one; default none.
        validators: what answers have to pass, by a name of your own, in the order in which they are asked. One that no
            persona names checks every answer; default none.
        identity: who the service is to those who prove who they are; None, the default, for no such service.
        gateway: how ``holdfast serve`` listens, and whom it lets in.
        batch: how files of requests are run.
        events: how much of what was decided is remembered.
        log_events: log each event too, by the logger ``holdfast.events`` of the standard library, which needs a level
            and a handler; default no.
        telemetry: what is told of requests, attempts and events to OpenTelemetry, and to the log as JSON.
    """

    timeout_s: float = Field(default=60.0, gt=0)
    max_request_bytes: int = Field(default=1024 * 1024, ge=1)
    max_memory_bytes: int = Field(default=2 * 1024**3, ge=1)
    max_in_flight: int = Field(default=10, ge=1)
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
    only_backend: str | None = None
    routing: RoutingConfig = RoutingConfig()
    models: ModelSlotConfig = ModelSlotConfig()
    host_guard: HostGuardConfig = HostGuardConfig()
    parameters: ParameterSettings | None = None
    registry: RegistrySettings | None = None
    shared: SharedSettings | None = None
    prompts: dict[str, str] = Field(default={})
    personas: dict[str, PersonaSettings] = Field(default={})
    validators: dict[str, ValidatorSettings] = Field(default={})
    identity: IdentitySettings | None = None
    gateway: GatewaySettings = GatewaySettings()
    batch: BatchConfig = BatchConfig()
    events: EventConfig = EventConfig()
    log_events: bool = False
    telemetry: TelemetrySettings = TelemetrySettings()

    @property
    def backends_in_use(self) -> dict[str, BackendSettings]:
        """Those of the backends that are used."""
        return {name: chosen for name, chosen in self.backends.items() if self.only_backend in {None, name}}
