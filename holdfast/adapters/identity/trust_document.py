"""The list of who is trusted, as JSON.

Responsibility: read the list from bytes, and write it.
Guarantees: reading is strict: every key is known and there once, every DID there once, and every time a whole second.
    Refusals say where the document is wrong and repeat nothing else of it. What was written reads as it was.
Not responsible for: where the bytes are: see `holdfast.adapters.identity.trust_file`.
Source: RFC 8259, of whose freedoms none is left to the reader.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NoReturn, TypeGuard

from holdfast.ports.did import Did
from holdfast.ports.identity import TrustRecord

__all__ = ["MAX_DOCUMENT_BYTES", "read_trust_document", "write_trust_document"]

MAX_DOCUMENT_BYTES: Final = 1_048_576
"""About 5,000 identities."""

_VERSION: Final = 1
_MAX_DIGITS: Final = 20
_DOCUMENT_KEYS: Final = frozenset({"version", "trusted"})
_RECORD_KEYS: Final = frozenset({"did", "roles", "not_before_s", "not_after_s", "revoked"})
_REQUIRED_KEYS: Final = frozenset({"did", "roles"})


def read_trust_document(content: bytes) -> Mapping[Did, TrustRecord]:
    """Return the records, in order of their DIDs.

    Raises:
        ValueError: if it is not such a document, in words that follow on the name of the file.
    """
    document = _read_json(content)
    if not _is_object(document) or document.keys() != _DOCUMENT_KEYS:
        raise ValueError("must be an object with the keys version and trusted, and no others")
    version, trusted = document["version"], document["trusted"]
    if not _is_whole(version) or version != _VERSION:
        raise ValueError(f"is of a version that is not known here; known is {_VERSION}")
    if not _is_list(trusted):
        raise ValueError("trusted must be a list")
    known: dict[Did, TrustRecord] = {}
    for number, entry in enumerate(trusted, 1):
        try:
            record = _read_record(entry)
        except ValueError as error:  # ours, DidError and ConfigurationError
            raise ValueError(f"entry {number}: {error}") from None
        if record.did in known:
            raise ValueError(f"entry {number}: its DID has an entry already")
        known[record.did] = record
    return MappingProxyType(dict(sorted(known.items())))


def write_trust_document(known: Mapping[Did, TrustRecord]) -> bytes:
    """Return the document of these records, in order of their DIDs.

    Raises:
        ValueError: if it would be too long.
    """
    trusted = [
        {
            "did": record.did,
            "roles": sorted(record.roles),
            "not_before_s": record.not_before_s,
            "not_after_s": record.not_after_s,
            "revoked": record.revoked,
        }
        for _, record in sorted(known.items())
    ]
    content = f"{json.dumps({'version': _VERSION, 'trusted': trusted}, indent=2)}\n".encode("ascii")
    if len(content) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"would take {len(content)} bytes, and {MAX_DOCUMENT_BYTES} are read; keep more than one list")
    return content


def _read_json(content: bytes) -> object:
    try:
        value: object = json.loads(
            content.decode(),
            object_pairs_hook=_unique,
            parse_int=_whole,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"is no UTF-8 from byte {error.start} on") from None
    except json.JSONDecodeError as error:
        # Not the decoder's own words: some of them hold a piece of the text.
        raise ValueError(f"is no JSON from line {error.lineno}, column {error.colno} on") from None
    except RecursionError:
        raise ValueError("is nested too deep") from None
    return value


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("has a key twice in one object")
    return found


def _whole(literal: str) -> int:
    if len(literal) > _MAX_DIGITS:  # Python refuses to read very long ones, and takes long for those a little shorter
        raise ValueError("holds a number that is too large")
    return int(literal)


def _refuse_number(_: str) -> NoReturn:
    raise ValueError("holds a number that is no whole one")


def _read_record(entry: object) -> TrustRecord:
    if not _is_object(entry) or not _REQUIRED_KEYS <= entry.keys() <= _RECORD_KEYS:
        raise ValueError("must be an object with did and roles; not_before_s, not_after_s and revoked may be left out")
    did, roles, revoked = entry["did"], entry["roles"], entry.get("revoked", False)
    if not _is_text(did):
        raise ValueError("did must be a text")
    if not _is_list(roles) or not all(map(_is_text, roles)) or len(set(roles)) != len(roles):
        raise ValueError("roles must be a list of different texts")
    if revoked is not True and revoked is not False:
        raise ValueError("revoked must be true or false")
    return TrustRecord(
        did=Did(did),
        roles=frozenset(filter(_is_text, roles)),
        not_before_s=_read_time(entry, "not_before_s"),
        not_after_s=_read_time(entry, "not_after_s"),
        revoked=revoked,
    )


def _read_time(entry: Mapping[str, object], name: str) -> int | None:
    unix_s = entry.get(name)
    if unix_s is not None and not _is_whole(unix_s):
        raise ValueError(f"{name} must be Unix seconds or null")
    return unix_s


def _is_object(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str)


def _is_whole(value: object) -> TypeGuard[int]:
    return type(value) is int  # and not a bool, which is an int too
