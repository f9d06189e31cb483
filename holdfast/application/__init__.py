"""Assembles the library: settings, container, orchestrator, batch runner."""

from holdfast.application.authenticated_client import AuthenticatedClient, AuthenticatedSession, Question
from holdfast.application.authenticated_service import AuthenticatedService, Identity
from holdfast.application.batch import BatchRunner
from holdfast.application.batch_config import BatchConfig
from holdfast.application.container import Backend, Container, make_container, open_container, open_orchestrator
from holdfast.application.open_authenticated import open_authenticated_container, open_authenticated_service
from holdfast.application.orchestrator import Orchestrator
from holdfast.application.program import Program
from holdfast.application.settings import (
    BackendSettings,
    ExtractiveSettings,
    GuardSettings,
    IdentitySettings,
    LoadedSettings,
    RetrievalSettings,
    ScriptedSettings,
    SessionSettings,
    Settings,
    TenantSettings,
    load_settings,
)

__all__ = [
    "AuthenticatedClient",
    "AuthenticatedService",
    "AuthenticatedSession",
    "Backend",
    "BackendSettings",
    "BatchConfig",
    "BatchRunner",
    "Container",
    "ExtractiveSettings",
    "GuardSettings",
    "Identity",
    "IdentitySettings",
    "LoadedSettings",
    "Orchestrator",
    "Program",
    "Question",
    "RetrievalSettings",
    "ScriptedSettings",
    "SessionSettings",
    "Settings",
    "TenantSettings",
    "load_settings",
    "make_container",
    "open_authenticated_container",
    "open_authenticated_service",
    "open_container",
    "open_orchestrator",
]
