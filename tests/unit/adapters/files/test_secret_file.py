from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from holdfast.adapters.files import read_secret_file
from holdfast.ports.errors import ConfigurationError

SETTING = "shared.password_file"
SECRET = "sk-secret"  # noqa: S105 - opens nothing


def written(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    file = folder / "key"
    file.write_bytes(content)
    file.chmod(mode)
    return file


@pytest.mark.parametrize("content", ["sk-secret", "sk-secret\n", " größe \r\n"])
def test_secret_is_given_as_it_stands_in_the_file(tmp_path: Path, content: str) -> None:
    assert read_secret_file(written(tmp_path, content.encode()), setting=SETTING) == content


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640])
def test_secret_that_its_owner_or_one_group_may_read_is_taken(tmp_path: Path, mode: int) -> None:
    assert read_secret_file(written(tmp_path, SECRET.encode(), mode), setting=SETTING) == SECRET


@pytest.mark.parametrize("mode", [0o604, 0o660, 0o602, 0o601, 0o620, 0o666])
def test_secret_that_others_have_a_right_to_is_refused_in_one_line_without_showing_it(
    tmp_path: Path, mode: int
) -> None:
    with pytest.raises(ConfigurationError, match=r"^shared\.password_file: .*: is open to others; chmod 600") as caught:
        read_secret_file(written(tmp_path, SECRET.encode(), mode), setting=SETTING)

    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "is empty"), (b" \n", "is empty"), (b"\xff", "is not UTF-8"), (b"k" * (1024 * 1024 + 1), "is longer than")],
)
def test_secret_that_is_none_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        read_secret_file(written(tmp_path, content), setting=SETTING)


def test_secret_from_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_secret_file(tmp_path / "none", setting=SETTING)


def test_secret_from_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)

    with pytest.raises(ConfigurationError, match="is no regular file"):
        read_secret_file(tmp_path / "pipe", setting=SETTING)


def test_secret_from_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is no regular file"):
        read_secret_file(tmp_path, setting=SETTING)


@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_file_is_closed_whether_it_is_read_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    real, opened = os.open, list[int]()

    def note(path: Path, flags: int) -> int:
        opened.append(real(path, flags))
        return opened[-1]

    file = written(tmp_path, SECRET.encode(), mode)
    monkeypatch.setattr(os, "open", note)
    with suppress(ConfigurationError):
        read_secret_file(file, setting=SETTING)

    [descriptor] = opened
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(descriptor)
