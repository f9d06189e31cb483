"""A request brought in any amount of text beside its messages, uncounted; a refusal repeated a name of any length."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.application.settings import Settings
from holdfast.domain.door import check_request
from holdfast.ports.errors import RequestError
from holdfast.ports.inference import Parameters
from holdfast.ports.trace import TraceContext
from tests.fakes.service import Answering, ask, opened

LONG = "é" * 50


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("model", {"model": LONG}),
        ("persona", {"persona": LONG}),
        ("idempotency_key", {"idempotency_key": LONG}),
        ("request_id", {"request_id": LONG}),
        ("trace", {"trace": TraceContext(trace_id="1" * 32, span_id="2" * 16, state=LONG)}),
        ("parameters.stop", {"parameters": Parameters(stop=("x", LONG))}),
    ],
)
def test_text_beside_the_messages_that_is_too_large_is_refused_with_its_field(field: str, more: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=rf"^{field}: .* the 99 allowed"):
        check_request(ask("?", **more), max_bytes=99)


def test_texts_beside_the_messages_count_as_bytes() -> None:
    request = ask("?", model="é", persona="bb", idempotency_key="c", request_id="d", parameters=Parameters(stop=("e",)))

    assert check_request(request, max_bytes=100) == len("?ébbcde".encode())


@pytest.mark.anyio
@pytest.mark.parametrize("more", [{"persona": "n" * 10_000}, {"question": "/expert " + "n" * 10_000 + " why?"}])
async def test_unknown_persona_with_a_long_name_is_refused_in_a_short_line(more: dict[str, Any]) -> None:
    given = {"prompts": {"a": "Be brief."}, "personas": {"brief": {"prompt": "a"}}}

    async with opened({"a": Answering()}, Settings.model_validate(given)) as service:
        with pytest.raises(RequestError, match=r"^persona: there is no 'n+…'; known: brief$") as refused:
            await service.submit(ask(**more))

    assert len(str(refused.value)) < 200
