from __future__ import annotations

import pytest

from holdfast.adapters.inference.extractive import ExtractiveBackend
from holdfast.adapters.inference.scripted import Pieces, ScriptedBackend, in_turn
from holdfast.ports.inference import InferenceBackend
from holdfast.testing import VirtualClock
from holdfast.testing.contracts.inference_backend import InferenceBackendContract


class TestScriptedBackend(InferenceBackendContract):
    @pytest.fixture
    def backend(self) -> InferenceBackend:
        return ScriptedBackend.repeating("scripted", '{"answer": "yes"}', delay_s=1.0, clock=VirtualClock())


class TestScriptedBackendInPieces(InferenceBackendContract):
    @pytest.fixture
    def backend(self) -> InferenceBackend:
        answer = Pieces(pieces=('{"ans', "", 'wer": ', '"yes"}'), delay_s=1.0, between_s=0.1)
        return ScriptedBackend("scripted", in_turn(answer), clock=VirtualClock())


class TestExtractiveBackend(InferenceBackendContract):
    @pytest.fixture
    def backend(self) -> InferenceBackend:
        return ExtractiveBackend("extractive")
