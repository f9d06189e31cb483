"""Assembles the library: settings, container, orchestrator, batch runner."""

from holdfast.application.batch import BatchRunner
from holdfast.application.batch_config import BatchConfig
from holdfast.application.container import Backend, Container, Model
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.program import Program
from holdfast.application.prompt_settings import (
    JsonSchemaSettings,
    PatternSettings,
    PersonaSettings,
    RequiredFieldsSettings,
    ValidatorSettings,
)
from holdfast.application.settings import (
    BackendSettings,
    ExtractiveSettings,
    GuardSettings,
    RetrievalSettings,
    ScriptedSettings,
    SessionSettings,
    Settings,
    TenantSettings,
)
from holdfast.application.settings_sources import LoadedSettings, load_settings
from holdfast.application.wiring import open_container, open_orchestrator

__all__ = [
    "Backend",
    "BackendSettings",
    "BatchConfig",
    "BatchRunner",
    "Container",
    "ExtractiveSettings",
    "GuardSettings",
    "JsonSchemaSettings",
    "LoadedSettings",
    "Model",
    "Orchestrator",
    "PatternSettings",
    "PersonaSettings",
    "Program",
    "RequiredFieldsSettings",
    "RetrievalSettings",
    "ScriptedSettings",
    "SessionSettings",
    "Settings",
    "TenantSettings",
    "ValidatorSettings",
    "load_settings",
    "open_container",
    "open_orchestrator",
]
