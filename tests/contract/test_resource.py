from __future__ import annotations

import pytest

from holdfast.ports.resource import ResourceProvider
from holdfast.testing.contracts.resource import ResourceProviderContract
from tests.fakes.resource import FakeProvider, Thing


class TestFakeProvider(ResourceProviderContract[Thing]):
    @pytest.fixture(params=[False, True], ids=["not resettable", "resettable"])
    def provider(self, request: pytest.FixtureRequest) -> ResourceProvider[Thing]:
        return FakeProvider(resettable=request.param)
