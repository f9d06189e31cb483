"""What becomes of a gateway that is served where its server does not run."""

from __future__ import annotations

import anyio
import pytest

from holdfast.adapters.gateway import serve_gateway
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.gateway import GatewayOptions
from tests.fakes.service import Answering, opened

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


async def test_serve_gateway_on_trio_is_refused_and_says_what_to_do() -> None:
    async with opened({"a": Answering()}) as service:
        with pytest.raises(ConfigurationError, match="asyncio"):
            await serve_gateway(service, GatewayOptions(), stop=anyio.Event(), on_listening=pytest.fail)
