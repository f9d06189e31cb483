from __future__ import annotations

import os
from pathlib import Path

import pytest

from holdfast.adapters.inference.http import checked_key, read_key
from holdfast.ports.errors import ConfigurationError

PATH = "backends.b.api_key_file"
SECRET = "sk-secret"  # noqa: S105 - opens nothing


def written(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    file = folder / "key"
    file.write_bytes(content)
    file.chmod(mode)
    return file


@pytest.mark.parametrize("content", [b"sk-secret", b"sk-secret\n", b"  sk-secret \r\n"])
def test_read_key_gives_the_key_without_white_space(tmp_path: Path, content: bytes) -> None:
    assert read_key(written(tmp_path, content), path=PATH) == SECRET


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o610])
def test_read_key_that_others_have_a_right_to_is_refused_in_one_line(tmp_path: Path, mode: int) -> None:
    file = written(tmp_path, SECRET.encode(), mode)

    with pytest.raises(ConfigurationError, match=r"^backends\.b\.api_key_file: .*read or written by others") as caught:
        read_key(file, path=PATH)

    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b" \n", b"sk-secret\nsk-other", b"sk secret", "sk-sécret".encode(), b"\xff"])
def test_read_key_that_no_header_could_hold_is_refused_without_repeating_it(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigurationError, match="is no key: it needs visible ASCII") as caught:
        read_key(written(tmp_path, content), path=PATH)

    assert "secret" not in str(caught.value)


def test_read_key_from_a_file_that_is_too_long_is_refused(tmp_path: Path) -> None:
    assert len(read_key(written(tmp_path, b"k" * 4096), path=PATH)) == 4096
    with pytest.raises(ConfigurationError, match="holds more than 4096 bytes"):
        read_key(written(tmp_path, b"k" * 4097), path=PATH)


def test_read_key_from_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        read_key(tmp_path / "none", path=PATH)


def test_read_key_from_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)

    with pytest.raises(ConfigurationError, match="is no regular file"):
        read_key(tmp_path / "pipe", path=PATH)


def test_read_key_from_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"is no regular file|cannot be read: Is a directory"):
        read_key(tmp_path, path=PATH)


@pytest.mark.parametrize("key", ["", "a b", "a\nb: c", "ключ", "a\x7f"])
def test_checked_key_that_could_break_a_header_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(ConfigurationError, match="is no key") as caught:
        checked_key(key, path="backends.b.api_key")

    assert not key or key not in str(caught.value)
