"""Assembles the library: settings, container, orchestrator, batch runner."""

from holdfast.application.authenticated_client import AuthenticatedClient, AuthenticatedSession, Question
from holdfast.application.authenticated_service import AuthenticatedService, Identity
from holdfast.application.batch import BatchRunner
from holdfast.application.batch_config import BatchConfig
from holdfast.application.container import Backend, Container, Discovered, Model, Registry
from holdfast.application.gateway_settings import GatewaySettings
from holdfast.application.open_authenticated import open_authenticated_container, open_authenticated_service
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.program import Program
from holdfast.application.prompt_settings import (
    JsonSchemaSettings,
    PatternSettings,
    PersonaSettings,
    RequiredFieldsSettings,
    ValidatorSettings,
)
from holdfast.application.registry_settings import (
    ConsulRegistrySettings,
    FileRegistrySettings,
    RegistrationSettings,
    RegistrySettings,
)
from holdfast.application.settings import (
    BackendSettings,
    ExtractiveSettings,
    GuardSettings,
    IdentitySettings,
    RetrievalSettings,
    ScriptedSettings,
    SessionSettings,
    Settings,
    TenantSettings,
)
from holdfast.application.settings_sources import LoadedSettings, load_settings
from holdfast.application.shared_stores import SharedStores, memory_stores
from holdfast.application.wiring import make_container, open_container, open_orchestrator

__all__ = [
    "AuthenticatedClient",
    "AuthenticatedService",
    "AuthenticatedSession",
    "Backend",
    "BackendSettings",
    "BatchConfig",
    "BatchRunner",
    "ConsulRegistrySettings",
    "Container",
    "Discovered",
    "ExtractiveSettings",
    "FileRegistrySettings",
    "GatewaySettings",
    "GuardSettings",
    "Identity",
    "IdentitySettings",
    "JsonSchemaSettings",
    "LoadedSettings",
    "Model",
    "Orchestrator",
    "PatternSettings",
    "PersonaSettings",
    "Program",
    "Question",
    "RegistrationSettings",
    "Registry",
    "RegistrySettings",
    "RequiredFieldsSettings",
    "RetrievalSettings",
    "ScriptedSettings",
    "SessionSettings",
    "Settings",
    "SharedStores",
    "TenantSettings",
    "ValidatorSettings",
    "load_settings",
    "make_container",
    "memory_stores",
    "open_authenticated_container",
    "open_authenticated_service",
    "open_container",
    "open_orchestrator",
]
