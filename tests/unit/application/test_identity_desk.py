from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.application.identity_desk import FileKeyDesk, FileTrustDesk
from holdfast.ports.did import Did
from holdfast.ports.errors import DidError, KeyFileError, RequestError, TrustChangeError, TrustStoreError
from holdfast.ports.identity import TrustRecord
from holdfast.ports.identity_desk import Standing
from holdfast.testing import ForgeableSigner

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

KEYS = FileKeyDesk()
ALICE = TrustRecord(did=ForgeableSigner("alice").did, roles=frozenset({"asks"}), not_before_s=10, not_after_s=20)


class Wall:
    """A wall clock that is set by hand."""

    def __init__(self) -> None:
        self.unix_s = 15.0

    def __call__(self) -> float:
        return self.unix_s


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def desk(wall: Wall) -> FileTrustDesk:
    return FileTrustDesk(unix_s=wall)


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    return tmp_path / "trust.json"


async def _signed(folder: Path, content: bytes = b"content") -> tuple[Did, Path, Path]:
    """Return who signed, the file, and the file with the signature."""
    did = await KEYS.create(folder / "id.pem")
    (folder / "file").write_bytes(content)
    (folder / "file.sig").write_text(f"{await KEYS.sign(folder / 'id.pem', folder / 'file')}\n")
    return did, folder / "file", folder / "file.sig"


async def test_create_and_show_name_the_same_identity(tmp_path: Path) -> None:
    assert await KEYS.create(tmp_path / "id.pem") == await KEYS.show(tmp_path / "id.pem")


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 3_000_000])
async def test_verify_signed_file_believes_it(tmp_path: Path, content: bytes) -> None:
    did, file, signature = await _signed(tmp_path, content)

    assert await KEYS.verify(did, file, signature)


async def test_verify_for_somebody_else_does_not_believe_it(tmp_path: Path) -> None:
    _, file, signature = await _signed(tmp_path)

    assert not await KEYS.verify(await KEYS.create(tmp_path / "other.pem"), file, signature)


async def test_verify_changed_file_does_not_believe_it(tmp_path: Path) -> None:
    did, file, signature = await _signed(tmp_path)
    file.write_bytes(b"Content")

    assert not await KEYS.verify(did, file, signature)


async def test_verify_signature_for_another_purpose_does_not_believe_it(tmp_path: Path) -> None:
    did, file, signature = await _signed(tmp_path)
    await KEYS.create(tmp_path / "new.pem")
    signature.write_text((await KEYS.rotate(tmp_path / "id.pem", tmp_path / "new.pem")).split()[3])

    assert not await KEYS.verify(did, file, signature)


@pytest.mark.parametrize("content", [b"", b"no signature", b"A" * 85, b"A" * 87, b"\xff" * 86, b"A" * 86 + b"\n\nx"])
async def test_verify_with_a_file_that_holds_no_signature_is_refused(tmp_path: Path, content: bytes) -> None:
    did, file, signature = await _signed(tmp_path)
    signature.write_bytes(content)

    with pytest.raises(RequestError, match=r"file\.sig: is no signature"):
        await KEYS.verify(did, file, signature)


async def test_verify_with_a_signature_that_is_too_long_to_be_one_is_refused(tmp_path: Path) -> None:
    did, file, signature = await _signed(tmp_path)
    signature.write_bytes(b"A" * 1025)

    with pytest.raises(RequestError, match=r"file\.sig: is longer than 1024 bytes"):
        await KEYS.verify(did, file, signature)


async def test_sign_missing_file_is_refused(tmp_path: Path) -> None:
    await KEYS.create(tmp_path / "id.pem")

    with pytest.raises(RequestError, match="missing: No such file or directory"):
        await KEYS.sign(tmp_path / "id.pem", tmp_path / "missing")


async def test_sign_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    await KEYS.create(tmp_path / "id.pem")
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(RequestError, match="pipe: is no regular file"):
        await KEYS.sign(tmp_path / "id.pem", tmp_path / "pipe")


async def test_sign_with_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    _, file, _ = await _signed(tmp_path)
    (tmp_path / "id.pem").chmod(0o640)

    with pytest.raises(KeyFileError, match="can be read or written by others"):
        await KEYS.sign(tmp_path / "id.pem", file)


async def test_trust_somebody_is_found_with_their_standing(desk: FileTrustDesk, trust: Path, wall: Wall) -> None:
    assert await desk.trust(trust, ALICE) == (Standing(record=ALICE, is_trusted=True),)

    wall.unix_s = 20.0

    assert await desk.standings(trust) == (Standing(record=ALICE, is_trusted=False),)


async def test_revoke_somebody_is_for_good(desk: FileTrustDesk, trust: Path) -> None:
    await desk.trust(trust, ALICE)
    revoked = replace(ALICE, revoked=True)

    assert await desk.revoke(trust, ALICE.did) == (Standing(record=revoked, is_trusted=False),)
    with pytest.raises(TrustChangeError, match="is revoked, and stays so"):
        await desk.trust(trust, ALICE)


async def test_standings_of_a_missing_file_is_an_error(desk: FileTrustDesk, trust: Path) -> None:
    with pytest.raises(TrustStoreError, match="No such file"):
        await desk.standings(trust)


async def _rotation(folder: Path) -> tuple[Did, Did, Path]:
    """Return the old identity, the new one, and the file with the statement."""
    old, new = [await KEYS.create(folder / name) for name in ("old.pem", "new.pem")]
    statement = folder / "statement"
    statement.write_text(f"{await KEYS.rotate(folder / 'old.pem', folder / 'new.pem')}\n")
    return old, new, statement


async def test_rotate_gives_the_place_to_the_new_identity(desk: FileTrustDesk, trust: Path, tmp_path: Path) -> None:
    old, new, statement = await _rotation(tmp_path)
    before = replace(ALICE, did=old)
    await desk.trust(trust, before)

    assert await desk.rotate(trust, statement) == (
        Standing(record=replace(before, revoked=True), is_trusted=False),
        Standing(record=replace(before, did=new), is_trusted=True),
    )


async def test_rotate_out_of_the_time_of_the_old_identity_is_refused(
    desk: FileTrustDesk, trust: Path, tmp_path: Path, wall: Wall
) -> None:
    old, _, statement = await _rotation(tmp_path)
    await desk.trust(trust, replace(ALICE, did=old))
    wall.unix_s = 25.0

    with pytest.raises(TrustChangeError, match=f"{old} is not trusted"):
        await desk.rotate(trust, statement)


async def test_rotate_with_a_forged_statement_is_refused(desk: FileTrustDesk, trust: Path, tmp_path: Path) -> None:
    old, new, statement = await _rotation(tmp_path)
    await desk.trust(trust, replace(ALICE, did=old))
    thief = await KEYS.create(tmp_path / "thief.pem")
    statement.write_text(statement.read_text().replace(new, thief))

    with pytest.raises(TrustChangeError, match="not signed by both identities"):
        await desk.rotate(trust, statement)


async def test_rotate_an_identity_to_itself_is_refused(tmp_path: Path) -> None:
    await KEYS.create(tmp_path / "id.pem")

    with pytest.raises(TrustChangeError, match="cannot give its place to itself"):
        await KEYS.rotate(tmp_path / "id.pem", tmp_path / "id.pem")


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", TrustChangeError, "must be one line that begins with HFR1"),
        (b"\xff" * 292, TrustChangeError, "must be one line that begins with HFR1"),
        (b"HFR1" + b" " + b"x" * 56 + b" " + b"x" * 56 + 2 * (b" " + b"A" * 86), DidError, "does not begin with"),
        (b"x" * 1025, RequestError, "is longer than 1024 bytes"),
    ],
)
async def test_rotate_with_what_is_no_statement_is_refused(
    desk: FileTrustDesk, trust: Path, tmp_path: Path, content: bytes, error: type[Exception], message: str
) -> None:
    (tmp_path / "statement").write_bytes(content)

    with pytest.raises(error, match=message):
        await desk.rotate(trust, tmp_path / "statement")


async def test_desk_by_itself_goes_by_the_time_of_the_machine(trust: Path) -> None:
    record = replace(ALICE, not_before_s=1_700_000_000, not_after_s=None)

    assert await FileTrustDesk().trust(trust, record) == (Standing(record=record, is_trusted=True),)
