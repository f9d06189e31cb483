"""What travels between processes, byte by byte."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain.answer_codec import (
    LEAST_MAX_BYTES,
    UNSHARED,
    Unshared,
    read_outcome,
    write_answer,
    write_failed,
    write_unshared,
)
from holdfast.ports.errors import BackendThrottledError, BackendUnavailableError, HoldfastError
from holdfast.ports.inference import Citation, FinishReason, ToolCall, Usage
from holdfast.ports.service import Disposition, Reply
from tests.fakes.answers import KEY, OTHER, reply

FULL = Reply(
    text='Grüße, "\N{GRINNING FACE}"\0\n',
    backend="b",
    model="m",
    disposition=Disposition.CALLED,
    attempts=3,
    queue_s=0.125,
    backend_s=1.5,
    usage=Usage(input_tokens=7, output_tokens=11),
    citations=(Citation(source="a.md", heading="A"), Citation(source="b.md", heading="")),
    request_id=None,
    persona="expert",
    marks=("polite", "short"),
    tool_calls=(ToolCall(call_id="1", name="look", arguments='{"at": "it"}'),),
    finish_reason=FinishReason.TOOL_CALLS,
)


def read(outcome: bytes, disposition: Disposition = Disposition.CALLED) -> Reply | HoldfastError | Unshared:
    return read_outcome(KEY, outcome, max_bytes=1_000_000, disposition=disposition)


def forged(body: object) -> bytes:
    """Return an outcome that only its content can be refused for."""
    text = b"\n" + json.dumps(body).encode()
    return b"holdfast.outcome.1 " + hashlib.sha256(KEY.digest + text).hexdigest().encode() + text


def answer_fields() -> dict[str, object]:
    """Return the fields of an answer that can be read."""
    found: dict[str, object] = json.loads(write_answer(KEY, FULL).split(b"\n", 1)[1])["answer"]
    return found


def test_answer_comes_back_with_every_field() -> None:
    assert read(write_answer(KEY, FULL)) == FULL
    assert read(write_answer(KEY, reply())) == reply()


def test_answer_of_which_any_field_differs_is_written_otherwise() -> None:
    """So that a new field of a reply is not forgotten here."""
    own = {"disposition", "request_id"}
    plain = reply()

    same = [
        field.name
        for field in fields(Reply)
        if field.name not in own
        and write_answer(KEY, replace(plain, **{field.name: getattr(FULL, field.name)})) == write_answer(KEY, plain)
    ]

    assert same == []


def test_answer_comes_as_the_reader_says_and_is_nobodys_request() -> None:
    written = write_answer(KEY, replace(FULL, request_id="r-1", disposition=Disposition.CALLED))

    found = read(written, Disposition.JOINED)

    assert found == replace(FULL, disposition=Disposition.JOINED, request_id=None)


def test_answer_is_written_in_the_same_way_by_every_process() -> None:
    assert write_answer(KEY, reply()) == (
        b"holdfast.outcome.1 a6f661743de41b8d32d1d071b10ac6c79daa3c0dfcce8ce88cfe5735803c3cae"
        b'\n{"answer":{"attempts":1,"backend":"a","backend_s":0.5,"citations":[],"finish_reason":null,'
        b'"input_tokens":3,"marks":[],"model":"a-1","output_tokens":2,"persona":null,"queue_s":0.0,"text":"42",'
        b'"tool_calls":[]}}'
    )


@pytest.mark.parametrize("text", ["\ud83d", "\udc00x"])
def test_answer_with_half_of_a_surrogate_pair_is_not_written(text: str) -> None:
    with pytest.raises(ValueError, match="surrogates"):
        write_answer(KEY, reply(text))


def test_failure_comes_back() -> None:
    written = write_failed(KEY, BackendUnavailableError("is down", backend="a"))
    assert written is not None

    found = read(written)

    assert (type(found), str(found)) == (BackendUnavailableError, "backend 'a': is down")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("of this process"),
        BackendUnavailableError("\ud83d", backend="a"),
        BackendThrottledError(backend="a", retry_after_s=float("nan")),
    ],
    ids=["own", "surrogate", "nan"],
)
def test_failure_that_cannot_be_told_is_not_written(error: Exception) -> None:
    assert write_failed(KEY, error) is None


def test_failure_with_the_longest_texts_fits_into_the_lowest_bound() -> None:
    written = write_failed(KEY, BackendUnavailableError("\0" * 100_000, backend="a" * 100))

    assert written is not None
    assert len(written) <= LEAST_MAX_BYTES


def test_mark_that_nothing_is_shared_comes_back() -> None:
    assert read(write_unshared(KEY)) is UNSHARED


def test_outcome_of_another_key_is_not_read() -> None:
    with pytest.raises(ValueError, match="of another form or key"):
        read_outcome(OTHER, write_answer(KEY, FULL), max_bytes=1_000_000, disposition=Disposition.CALLED)


def test_outcome_that_is_too_large_is_not_read() -> None:
    written = write_answer(KEY, FULL)

    assert read_outcome(KEY, written, max_bytes=len(written), disposition=Disposition.CALLED) == FULL
    with pytest.raises(ValueError, match="larger"):
        read_outcome(KEY, written, max_bytes=len(written) - 1, disposition=Disposition.CALLED)


def test_outcome_of_which_any_bit_is_flipped_is_not_read() -> None:
    written = write_answer(KEY, FULL)
    for position in range(len(written)):
        for bit in range(8):
            flipped = bytearray(written)
            flipped[position] ^= 1 << bit

            with pytest.raises(ValueError, match="of another form or key"):
                read(bytes(flipped))


def test_outcome_cut_anywhere_or_with_anything_behind_is_not_read() -> None:
    written = write_answer(KEY, FULL)
    for length in range(len(written)):
        with pytest.raises(ValueError, match="of another form or key"):
            read(written[:length])
    with pytest.raises(ValueError, match="of another form or key"):
        read(written + b" ")


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"answer": None},
        {"answer": {}},
        {"unshared": "no"},
        {"unshared": True, "more": 1},
        {"failure": {"kind": "SystemExit", "code": 0}},
        {"failure": {"kind": "unavailable", "backend": "a", "message": "x"}, "answer": {}},
    ],
)
def test_outcome_that_was_made_up_is_not_read(body: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever is wrong with it first
        read(forged(body))


@pytest.mark.parametrize("name", sorted(answer_fields()))
def test_answer_of_which_a_field_is_missing_or_of_another_type_is_not_read(name: str) -> None:
    whole = answer_fields()
    assert read(forged({"answer": whole})) == FULL
    without = {key: value for key, value in whole.items() if key != name}

    for made_up in (without, {**whole, name: True}, {**whole, name: {"a": 1}}, {**whole, "more": 1}):
        with pytest.raises(ValueError):  # noqa: PT011 - as above
            read(forged({"answer": made_up}))


def test_answer_that_ended_for_an_unknown_reason_is_not_read() -> None:
    with pytest.raises(ValueError, match="bored"):
        read(forged({"answer": answer_fields() | {"finish_reason": "bored"}}))


@given(st.binary(max_size=300))
def test_outcome_of_any_bytes_raises_nothing_but_what_is_said(noise: bytes) -> None:
    for outcome in (noise, b"holdfast.outcome.1 " + noise):
        with pytest.raises(ValueError, match="of another form or key"):
            read(outcome)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(_json, st.sampled_from(sorted(answer_fields())))
def test_answer_with_any_json_in_any_field_is_read_as_a_reply_or_not_at_all(value: object, name: str) -> None:
    try:
        found = read(forged({"answer": answer_fields() | {name: value}}))
    except ValueError:
        return
    assert isinstance(found, Reply)
    assert write_answer(KEY, found) == write_answer(KEY, found)
    assert all(type(getattr(found, each)) is type(getattr(FULL, each)) for each in ("text", "attempts", "queue_s"))


@given(
    st.builds(reply, st.text(max_size=20), attempts=st.integers(0, 9), marks=st.lists(st.text(max_size=3)).map(tuple))
)
def test_answer_of_any_text_comes_back_or_is_not_written(answer: Reply) -> None:
    try:
        written = write_answer(KEY, answer)
    except ValueError:
        return
    assert read(written) == answer
