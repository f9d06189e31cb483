from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.adapters.identity.trust_document import MAX_DOCUMENT_BYTES, read_trust_document, write_trust_document
from holdfast.ports.identity import TrustRecord
from holdfast.testing import ForgeableSigner

DIDS = [ForgeableSigner(f"{number}").did for number in range(6)]
ALICE = DIDS[0]
ENTRY = {"did": ALICE, "roles": ["asks"], "not_before_s": 10, "not_after_s": None, "revoked": False}

RECORDS = st.builds(
    lambda did, roles, times, revoked: TrustRecord(
        did=did, roles=roles, not_before_s=times[0], not_after_s=times[1], revoked=revoked
    ),
    st.sampled_from(DIDS),
    st.frozensets(st.from_regex(r"[a-z][a-z0-9_-]{0,9}", fullmatch=True), max_size=4),
    st.tuples(st.none() | st.integers(0, 499), st.none() | st.integers(500, 1000)),
    st.booleans(),
)


def _document(*entries: object, **more: object) -> bytes:
    return json.dumps({"version": 1, "trusted": entries, **more}).encode()


def _problem(content: bytes) -> str | None:
    try:
        read_trust_document(content)
    except ValueError as error:
        return str(error)
    return None


@settings(max_examples=50)
@given(st.lists(RECORDS, unique_by=lambda record: record.did))
def test_records_go_through_the_document_unchanged(records: list[TrustRecord]) -> None:
    known = {record.did: record for record in records}
    content = write_trust_document(known)
    found = read_trust_document(content)

    assert found == known
    assert list(found) == sorted(known)
    assert write_trust_document(found) == content


def test_document_with_nobody_in_it_trusts_nobody() -> None:
    assert read_trust_document(_document()) == {}


def test_entry_with_what_is_required_only_is_enough() -> None:
    found = read_trust_document(_document({"did": ALICE, "roles": []}))

    assert found == {ALICE: TrustRecord(did=ALICE, roles=frozenset())}


def test_records_that_were_read_cannot_be_changed() -> None:
    found = read_trust_document(_document(ENTRY))

    assert not hasattr(found, "__setitem__")
    assert not hasattr(found, "clear")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is no JSON from line 1, column 1 on"),
        (b"\xff", "is no UTF-8 from byte 0 on"),
        (b"{", "is no JSON from line 1, column 2 on"),
        (b"\xef\xbb\xbf" + _document(), "is no JSON from line 1, column 1 on"),
        (_document() + b"{}", "is no JSON from line 1, column 30 on"),
        (b"[" * 200_000, "is nested too deep"),
        (b"[" * 900 + b"]" * 900, "must be an object"),
        (b"null", "must be an object with the keys version and trusted, and no others"),
        (b"[]", "must be an object"),
        (b"{}", "must be an object"),
        (b'{"version": 1}', "must be an object"),
        (_document(more=1), "must be an object"),
        (b'{"version": 1, "version": 1, "trusted": []}', "has a key twice in one object"),
        (b'{"version": 1, "trusted": [], "trusted": [{}]}', "has a key twice in one object"),
        (_document(version=2), "is of a version that is not known here; known is 1"),
        (_document(version=True), "is of a version"),
        (_document(version="1"), "is of a version"),
        (b'{"version": 1.0, "trusted": []}', "holds a number that is no whole one"),
        (b'{"version": NaN, "trusted": []}', "holds a number that is no whole one"),
        (b'{"version": -Infinity, "trusted": []}', "holds a number that is no whole one"),
        (b'{"version": 1e999, "trusted": []}', "holds a number that is no whole one"),
        (b'{"version": ' + b"9" * 5000 + b', "trusted": []}', "holds a number that is too large"),
        (_document(trusted={}), "trusted must be a list"),
        (_document(trusted=None), "trusted must be a list"),
        (_document(None), "entry 1: must be an object with did and roles"),
        (_document(ENTRY, "x"), "entry 2: must be an object with did and roles"),
        (_document({"did": ALICE}), "entry 1: must be an object with did and roles"),
        (_document({"roles": []}), "entry 1: must be an object with did and roles"),
        (_document({**ENTRY, "note": "n"}), "entry 1: must be an object with did and roles"),
        (_document({**ENTRY, "did": 1}), "entry 1: did must be a text"),
        (_document({**ENTRY, "did": None}), "entry 1: did must be a text"),
        (_document({**ENTRY, "did": "x"}), "entry 1: not the did:key of an Ed25519 key: its length is 1, not 56"),
        (_document({**ENTRY, "did": f"{ALICE} "}), "entry 1: not the did:key of an Ed25519 key: its length is 57"),
        (_document(ENTRY, {**ENTRY, "roles": ["root"]}), "entry 2: its DID has an entry already"),
        (_document({**ENTRY, "roles": "asks"}), "entry 1: roles must be a list of different texts"),
        (_document({**ENTRY, "roles": None}), "entry 1: roles must be a list of different texts"),
        (_document({**ENTRY, "roles": [1]}), "entry 1: roles must be a list of different texts"),
        (_document({**ENTRY, "roles": [[]]}), "entry 1: roles must be a list of different texts"),
        (_document({**ENTRY, "roles": ["asks", "asks"]}), "entry 1: roles must be a list of different texts"),
        (_document({**ENTRY, "roles": ["Asks"]}), "entry 1: trust.roles: must be up to 64 lower-case letters"),
        (_document({**ENTRY, "not_before_s": True}), "entry 1: not_before_s must be Unix seconds or null"),
        (_document({**ENTRY, "not_after_s": "2027"}), "entry 1: not_after_s must be Unix seconds or null"),
        (_document({**ENTRY, "not_after_s": 10}), "entry 1: trust.not_after_s: must be later than"),
        (_document({**ENTRY, "not_before_s": -1}), "entry 1: trust.not_before_s: must be from 1970 to 9999"),
        (_document({**ENTRY, "revoked": 0}), "entry 1: revoked must be true or false"),
        (_document({**ENTRY, "revoked": None}), "entry 1: revoked must be true or false"),
        (_document({**ENTRY, "revoked": "false"}), "entry 1: revoked must be true or false"),
    ],
)
def test_document_that_is_not_exactly_one_is_refused_and_says_why(content: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(problem)}"):
        read_trust_document(content)


@pytest.mark.parametrize("length", range(len(_document(ENTRY))))
def test_any_beginning_of_a_document_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="is no JSON"):
        read_trust_document(_document(ENTRY)[:length])


@given(st.binary(max_size=60))
def test_any_bytes_are_a_document_or_refused_in_one_short_line(content: bytes) -> None:
    problem = _problem(content)

    assert problem is None or (problem.isprintable() and len(problem) < 200)


def test_refusal_repeats_nothing_of_the_document() -> None:
    marker = "zebra-7351"
    entries: list[object] = [
        {**ENTRY, marker: 1},
        {**ENTRY, "did": marker},
        {**ENTRY, "roles": [f"{marker}!"]},
        {**ENTRY, "revoked": marker},
        marker,
    ]
    for entry in entries:
        with pytest.raises(ValueError, match="entry 1") as refused:
            read_trust_document(_document(entry))
        assert marker not in str(refused.value)


def test_document_that_would_be_too_long_to_read_is_not_written() -> None:
    roles = frozenset(f"{'r' * 50}{number}" for number in range(20_000))

    with pytest.raises(ValueError, match=f"and {MAX_DOCUMENT_BYTES} are read; keep more than one list"):
        write_trust_document({ALICE: TrustRecord(did=ALICE, roles=roles)})
