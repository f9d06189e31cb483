"""Backends that need no server, loaders of models, and the provider for backends that serve every caller at once."""

from holdfast.adapters.inference.extractive import ExtractiveBackend
from holdfast.adapters.inference.provider import SharedBackendProvider
from holdfast.adapters.inference.scripted import Answer, Fault, Hang, Pieces, Script, ScriptedBackend, Step, in_turn
from holdfast.adapters.inference.scripted_model import ScriptedModelLoader
from holdfast.adapters.inference.threaded_model import ThreadedModelLoader

__all__ = [
    "Answer",
    "ExtractiveBackend",
    "Fault",
    "Hang",
    "Pieces",
    "Script",
    "ScriptedBackend",
    "ScriptedModelLoader",
    "SharedBackendProvider",
    "Step",
    "ThreadedModelLoader",
    "in_turn",
]
