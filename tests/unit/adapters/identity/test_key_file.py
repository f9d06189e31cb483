from __future__ import annotations

import errno
import os
import stat
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from holdfast.adapters.identity import Ed25519Signer, create_key_file, read_key_file
from holdfast.ports.errors import KeyFileError

SECRET = b"a key that must be in no message"
PRIVATE_KEY = Ed25519PrivateKey.from_private_bytes(SECRET)


def _pem(encryption: KeySerializationEncryption | None = None) -> bytes:
    return PRIVATE_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def _write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "id.pem"


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_create_keeps_an_identity_that_read_returns(key: Path) -> None:
    created = create_key_file(key)
    found = read_key_file(key)

    assert found.did == created.did
    assert found.sign(b"m") == created.sign(b"m")


@pytest.mark.usefixtures("umask")
def test_create_makes_the_file_for_its_owner_only_whatever_the_umask(key: Path) -> None:
    create_key_file(key)

    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_create_with_a_umask_that_forbids_everything_makes_a_file_that_can_be_read(key: Path) -> None:
    before = os.umask(0o777)
    try:
        create_key_file(key)
    finally:
        os.umask(before)

    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_create_over_a_file_is_refused_and_leaves_it(key: Path) -> None:
    first = create_key_file(key)

    with pytest.raises(KeyFileError, match="exists already; a key is never written over"):
        create_key_file(key)

    assert read_key_file(key).did == first.did


def test_create_over_a_dangling_link_is_refused_and_does_not_follow_it(key: Path, tmp_path: Path) -> None:
    key.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(KeyFileError, match="exists already"):
        create_key_file(key)

    assert not (tmp_path / "elsewhere").exists()


def test_create_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"missing/id\.pem: No such file or directory"):
        create_key_file(tmp_path / "missing" / "id.pem")


@pytest.mark.parametrize("call", ["fchmod", "fsync"])
def test_create_that_fails_half_way_leaves_no_file(key: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)

    with pytest.raises(KeyFileError, match="No space left on device"):
        create_key_file(key)

    assert not key.exists()


def test_create_where_permissions_are_not_kept_is_refused_before_the_key_is_written(
    key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fchmod = os.fchmod
    monkeypatch.setattr(os, "fchmod", lambda descriptor, _: fchmod(descriptor, 0o755))

    with pytest.raises(KeyFileError, match="is on a file system that keeps no permissions"):
        create_key_file(key)

    assert not key.exists()


def test_create_syncs_the_file_and_then_its_folder(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode)))

    create_key_file(key)

    assert synced == [False, True]


def test_read_the_published_file_returns_its_identity(key: Path) -> None:
    # As RFC 8410, section 10.3, prints it.
    _write(
        key,
        b"-----BEGIN %b-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END %b-----\n"
        % (b"PRIVATE KEY", b"PRIVATE KEY"),
    )

    assert read_key_file(key).did.public_key.hex() == "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_read_a_file_for_its_owner_only_is_allowed(key: Path, mode: int) -> None:
    assert isinstance(read_key_file(_write(key, _pem(), mode)), Ed25519Signer)


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o644, 0o666, 0o777])
def test_read_a_file_that_others_have_any_right_to_is_refused(key: Path, mode: int) -> None:
    with pytest.raises(KeyFileError, match=r"id\.pem: can be read or written by others; make a new key, or chmod 600"):
        read_key_file(_write(key, _pem(), mode))


def test_read_a_link_to_a_good_file_is_refused(key: Path, tmp_path: Path) -> None:
    key.symlink_to(_write(tmp_path / "real.pem", _pem()))

    with pytest.raises(KeyFileError, match="is a symbolic link; name the file itself"):
        read_key_file(key)


def test_read_a_missing_file_is_refused(key: Path) -> None:
    with pytest.raises(KeyFileError, match=r"id\.pem: No such file or directory"):
        read_key_file(key)


def test_read_a_pipe_is_refused_and_not_waited_for(key: Path) -> None:
    os.mkfifo(key, 0o600)

    with pytest.raises(KeyFileError, match="is no regular file"):
        read_key_file(key)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/"])
def test_read_what_is_no_regular_file_is_refused(path: str) -> None:
    with pytest.raises(KeyFileError, match="is no regular file"):
        read_key_file(Path(path))


def test_read_a_file_that_is_too_large_is_refused(key: Path) -> None:
    with pytest.raises(KeyFileError, match="is longer than 4096 bytes"):
        read_key_file(_write(key, _pem() + b"\n" * 4096))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no private key in PEM"),
        (b"\0" * 119, "is no private key in PEM"),
        (_pem()[:60], "is no private key in PEM"),
        (_pem().replace(b"M", b"N", 1), "is no private key in PEM"),
        (SECRET, "is no private key in PEM"),
        (SECRET.hex().encode(), "is no private key in PEM"),
        (PRIVATE_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "is no private key"),
        (_pem(BestAvailableEncryption(b"password")), "is encrypted; keep it without a password"),
        (
            generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "is a private key, but none for Ed25519",
        ),
    ],
)
def test_read_a_file_without_an_ed25519_key_is_refused(key: Path, content: bytes, message: str) -> None:
    with pytest.raises(KeyFileError, match=message):
        read_key_file(_write(key, content))


@pytest.mark.parametrize("length", range(0, 119, 7))
def test_read_any_beginning_of_a_key_file_is_refused(key: Path, length: int) -> None:
    with pytest.raises(KeyFileError, match="is no private key in PEM"):
        read_key_file(_write(key, _pem()[:length]))


@pytest.mark.parametrize(
    ("content", "mode"),
    [(_pem(), 0o644), (_pem()[:-30], 0o600), (_pem() + b"\n" * 4096, 0o600), (SECRET, 0o600)],
    ids=["too open", "cut", "too long", "raw"],
)
def test_refused_file_shows_nothing_of_the_key_in_the_error_its_causes_or_its_frames(
    key: Path, content: bytes, mode: int
) -> None:
    with pytest.raises(KeyFileError) as refused:
        read_key_file(_write(key, content, mode))

    frames = [frame for frame, _ in traceback.walk_tb(refused.tb) if frame.f_code.co_filename != __file__]
    shown = f"{refused.value!r} {vars(refused.value)} {[frame.f_locals for frame in frames]}"
    assert [frame.f_code.co_name for frame in frames] == ["read_key_file"]
    assert SECRET.hex() not in shown
    assert SECRET.decode() not in shown
    assert "BEGIN PRIVATE KEY" not in shown
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None
