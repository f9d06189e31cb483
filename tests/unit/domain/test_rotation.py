from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.domain.rotation import ROTATION_CHARS, Rotation, apply_rotation, rotate
from holdfast.domain.signed_fields import Purpose, signed_fields
from holdfast.ports.did import Did
from holdfast.ports.errors import DidError, TrustChangeError
from holdfast.ports.identity import TrustRecord
from holdfast.testing import ForgeableSigner, ForgeableVerifier

OLD, NEW, OTHER = (ForgeableSigner(name) for name in ("old", "new", "other"))
BEFORE = TrustRecord(did=OLD.did, roles=frozenset({"asks"}), not_before_s=10, not_after_s=20)
ROTATION = rotate(OLD, NEW)


def _apply(rotation: Rotation, *known: TrustRecord, unix_s: float = 15.0) -> tuple[TrustRecord, ...]:
    change = apply_rotation(rotation, verifier=ForgeableVerifier(), unix_s=unix_s)
    return tuple(change({record.did: record for record in known}))


def test_rotation_goes_through_its_text_unchanged() -> None:
    text = ROTATION.text

    assert len(text) == ROTATION_CHARS
    assert Rotation.read(text) == ROTATION


def test_rotation_to_itself_is_refused() -> None:
    with pytest.raises(TrustChangeError, match="cannot give its place to itself"):
        rotate(OLD, ForgeableSigner("old"))


def test_apply_gives_the_new_identity_roles_and_times_and_revokes_the_old_one() -> None:
    assert _apply(ROTATION, BEFORE) == (replace(BEFORE, revoked=True), replace(BEFORE, did=NEW.did))


def test_apply_twice_is_refused() -> None:
    after = _apply(ROTATION, BEFORE)

    with pytest.raises(TrustChangeError, match=f"{OLD.did} is not trusted, and so has no place to give"):
        _apply(ROTATION, *after)


def test_apply_another_statement_of_the_same_old_identity_is_refused_afterwards() -> None:
    after = _apply(ROTATION, BEFORE)

    with pytest.raises(TrustChangeError, match="is not trusted"):
        _apply(rotate(OLD, OTHER), *after)


def test_apply_back_to_the_old_identity_is_refused() -> None:
    after = _apply(ROTATION, BEFORE)

    with pytest.raises(TrustChangeError, match=f"{OLD.did} is in the list already"):
        _apply(rotate(NEW, OLD), *after)


def test_apply_one_after_the_other_hands_the_place_on() -> None:
    first = {record.did: record for record in _apply(ROTATION, BEFORE)}
    then = {record.did: record for record in _apply(rotate(NEW, OTHER), *first.values())}

    assert (first | then)[OTHER.did] == replace(BEFORE, did=OTHER.did)
    assert [record.did for record in (first | then).values() if not record.revoked] == [OTHER.did]


@pytest.mark.parametrize("known", [(), (replace(BEFORE, revoked=True),), (replace(BEFORE, did=OTHER.did),)])
def test_apply_for_an_identity_that_is_not_trusted_is_refused(known: tuple[TrustRecord, ...]) -> None:
    with pytest.raises(TrustChangeError, match=f"{OLD.did} is not trusted"):
        _apply(ROTATION, *known)


@pytest.mark.parametrize("unix_s", [0.0, 9.9, 20.0, 1e9])
def test_apply_out_of_the_time_of_the_old_identity_is_refused(unix_s: float) -> None:
    with pytest.raises(TrustChangeError, match="is not trusted"):
        _apply(ROTATION, BEFORE, unix_s=unix_s)


def test_apply_after_the_clock_stepped_back_an_hour_does_not_revive_the_old_identity() -> None:
    after = _apply(ROTATION, replace(BEFORE, not_before_s=None), unix_s=15.0)

    assert [record.is_trusted_at(15.0 - 3600.0) for record in after] == [False, True]


@pytest.mark.parametrize("revoked", [False, True])
def test_apply_for_a_new_identity_that_is_known_is_refused(revoked: bool) -> None:
    known = TrustRecord(did=NEW.did, roles=frozenset({"administers"}), revoked=revoked)

    with pytest.raises(TrustChangeError, match=f"{NEW.did} is in the list already"):
        _apply(ROTATION, BEFORE, known)


FORGED = {
    "old one did not sign": replace(ROTATION, left=bytes(64)),
    "new one did not sign": replace(ROTATION, succeeded=bytes(64)),
    "signatures are swapped": replace(ROTATION, left=ROTATION.succeeded, succeeded=ROTATION.left),
    "old one signed both": replace(
        ROTATION, succeeded=OLD.sign(signed_fields(Purpose.SUCCEED, *map(str.encode, (OLD.did, NEW.did))))
    ),
    "old one meant somebody else": replace(ROTATION, left=rotate(OLD, OTHER).left),
    "new one took another place": replace(ROTATION, succeeded=rotate(OTHER, NEW).succeeded),
    "signed for another purpose": replace(
        ROTATION, left=OLD.sign(signed_fields(Purpose.FILE, *map(str.encode, (OLD.did, NEW.did))))
    ),
    "the other way round": replace(rotate(NEW, OLD), old=OLD.did, new=NEW.did),
    "to somebody else": replace(ROTATION, new=OTHER.did),
}


@pytest.mark.parametrize("how", FORGED)
def test_apply_a_statement_that_both_did_not_sign_is_refused(how: str) -> None:
    with pytest.raises(TrustChangeError, match="not signed by both identities"):
        _apply(FORGED[how], BEFORE)


def test_apply_for_an_untrusted_identity_is_refused_without_looking_at_signatures() -> None:
    class Unasked:
        def verify(self, did: Did, message: bytes, signature: bytes) -> bool:
            pytest.fail(f"asked about {did}: {message!r} {signature!r}")

    change = apply_rotation(ROTATION, verifier=Unasked(), unix_s=15.0)

    with pytest.raises(TrustChangeError, match="is not trusted"):
        change({})


@pytest.mark.parametrize("length", range(ROTATION_CHARS))
def test_read_any_beginning_of_a_statement_is_refused(length: int) -> None:
    with pytest.raises(TrustChangeError, match="must be one line that begins with HFR1"):
        Rotation.read(ROTATION.text[:length])


@pytest.mark.parametrize(
    "text",
    [
        f"{ROTATION.text}\n",
        ROTATION.text.replace("HFR1", "HFR2"),
        ROTATION.text.replace(" ", "\t"),
        " " * ROTATION_CHARS,
        ROTATION.text.replace(" ", "  ", 1)[:-1],
        ROTATION.text * 1000,
    ],
)
def test_read_what_is_no_statement_is_refused(text: str) -> None:
    with pytest.raises(TrustChangeError, match="must be one line that begins with HFR1"):
        Rotation.read(text)


@pytest.mark.parametrize("place", [ROTATION_CHARS - 1, ROTATION_CHARS - 100])
def test_read_a_statement_with_a_broken_signature_is_refused(place: int) -> None:
    with pytest.raises(TrustChangeError, match="holds what is no signature"):
        Rotation.read(ROTATION.text[:place] + "=" + ROTATION.text[place + 1 :])


def test_read_a_statement_about_an_unsafe_key_is_refused() -> None:
    identity_point = "did:key:z6MkeXATEjyXENzBXBxgC5EHk2JE5aqd7qMGGtDpLUH1e2Sj"

    with pytest.raises(DidError, match="small order"):
        Rotation.read(ROTATION.text.replace(NEW.did, identity_point))


def test_every_change_of_one_character_is_refused() -> None:
    believed = []
    for place, character in enumerate(ROTATION.text):
        changed = ROTATION.text[:place] + ("B" if character == "A" else "A") + ROTATION.text[place + 1 :]
        try:
            _apply(Rotation.read(changed), BEFORE)
        except (TrustChangeError, DidError):
            continue
        believed.append(place)

    assert believed == []
