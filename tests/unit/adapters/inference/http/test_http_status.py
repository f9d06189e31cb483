from __future__ import annotations

import json

import pytest

from holdfast.adapters.inference.http.status import failure_of
from holdfast.domain.outcomes import classify
from holdfast.ports.errors import (
    BackendAuthenticationError,
    BackendError,
    BackendProtocolError,
    BackendRequestError,
    BackendThrottledError,
    BackendUnavailableError,
)
from holdfast.ports.outcome import Outcome

SECRET = "sk-very-secret"  # noqa: S105 - opens nothing


def failed(status: int, body: bytes = b"", **headers: str) -> BackendError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return failure_of(status, named.get, body, backend="b", now_unix_s=0.0)


@pytest.mark.parametrize(
    ("statuses", "kind", "outcome", "is_retried"),
    [
        ((429, 529), BackendThrottledError, Outcome.REJECTED_BY_PEER, True),
        ((401, 403), BackendAuthenticationError, Outcome.FAILURE, False),
        ((400, 402, 404, 405, 408, 409, 413, 415, 422, 451, 499), BackendRequestError, Outcome.IGNORED, False),
        ((500, 501, 502, 503, 504, 520, 599), BackendUnavailableError, Outcome.FAILURE, True),
        ((301, 302, 303, 307, 308), BackendProtocolError, Outcome.FAILURE, True),
        ((201, 202, 204, 206, 299), BackendProtocolError, Outcome.FAILURE, True),
    ],
)
def test_status_is_of_one_kind_and_means_one_thing(
    statuses: tuple[int, ...], kind: type[BackendError], outcome: Outcome, is_retried: bool
) -> None:
    for status in statuses:
        error = failed(status)

        assert type(error) is kind, status
        assert classify(error).outcome is outcome
        assert classify(error).retry_allowed is is_retried


def test_push_back_carries_how_long_to_wait() -> None:
    error = failed(429, retry_after="7")

    assert isinstance(error, BackendThrottledError)
    assert (error.retry_after_s, error.retry_allowed) == (7.0, True)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"error": {"code": "insufficient_quota", "message": "pay"}}', {}),
        (b'{"error": {"type": "insufficient_quota"}}', {"retry_after": "1"}),
        (b"", {"x_should_retry": "false"}),
    ],
)
def test_push_back_that_no_waiting_ends_is_not_to_be_retried(body: bytes, headers: dict[str, str]) -> None:
    error = failed(429, body, **headers)

    assert isinstance(error, BackendThrottledError)
    assert not error.retry_allowed


def test_error_tells_the_codes_of_the_body_each_once() -> None:
    body = json.dumps({"error": {"type": "invalid_request_error", "code": "context_length_exceeded"}}).encode()
    twice = json.dumps({"error": {"type": "overloaded", "code": "overloaded"}}).encode()

    assert str(failed(400, body)).endswith("status 400, invalid_request_error, context_length_exceeded")
    assert str(failed(500, twice)).endswith("status 500, overloaded")


@pytest.mark.parametrize(
    "body",
    [
        f'{{"error": {{"message": "Incorrect API key provided: {SECRET}", "type": "{SECRET} !"}}}}'.encode(),
        f'{{"error": {{"code": "{SECRET * 20}"}}}}'.encode(),
        f'{{"error": "{SECRET}"}}'.encode(),
        f'{{"error": ["{SECRET}"]}}'.encode(),
        f'["{SECRET}"]'.encode(),
        f"<html>{SECRET}</html>".encode(),
        b'{"error": {"code": 503, "type": null}}',
        b"[" * 100_000,
        b"\xff",
    ],
)
@pytest.mark.parametrize("status", [302, 400, 401, 429, 500])
def test_error_repeats_nothing_else_of_the_body(status: int, body: bytes) -> None:
    assert str(failed(status, body)) == str(failed(status))
