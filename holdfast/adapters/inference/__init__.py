"""Backends that need no server, and the pools' provider for backends that serve every caller at once."""

from holdfast.adapters.inference.extractive import ExtractiveBackend
from holdfast.adapters.inference.provider import SharedBackendProvider
from holdfast.adapters.inference.scripted import Answer, Fault, Hang, Script, ScriptedBackend, Step, in_turn

__all__ = [
    "Answer",
    "ExtractiveBackend",
    "Fault",
    "Hang",
    "Script",
    "ScriptedBackend",
    "SharedBackendProvider",
    "Step",
    "in_turn",
]
