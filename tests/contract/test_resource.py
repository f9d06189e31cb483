from __future__ import annotations

import pytest

from holdfast.adapters.inference.http import HttpBackendProvider
from holdfast.adapters.inference.openai import OpenAIDialect
from holdfast.adapters.inference.provider import SharedBackendProvider
from holdfast.adapters.inference.scripted import Answer, ScriptedBackend, in_turn
from holdfast.ports.inference import InferenceBackend
from holdfast.ports.resource import ResourceProvider
from holdfast.testing import VirtualClock
from holdfast.testing.contracts.resource import ResourceProviderContract
from tests.fakes.resource import FakeProvider, Thing


class TestFakeProvider(ResourceProviderContract[Thing]):
    @pytest.fixture(params=[False, True], ids=["not resettable", "resettable"])
    def provider(self, request: pytest.FixtureRequest) -> ResourceProvider[Thing]:
        return FakeProvider(resettable=request.param)


class TestSharedBackendProvider(ResourceProviderContract[InferenceBackend]):
    @pytest.fixture
    def provider(self) -> ResourceProvider[InferenceBackend]:
        return SharedBackendProvider(ScriptedBackend("b", in_turn(Answer(text="yes")), clock=VirtualClock()))


@pytest.mark.real_time
class TestHttpBackendProvider(ResourceProviderContract[InferenceBackend]):
    @pytest.fixture
    def provider(self) -> ResourceProvider[InferenceBackend]:
        return HttpBackendProvider("b", "http://127.0.0.1:1", OpenAIDialect())  # which connects when it is asked
