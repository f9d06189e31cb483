from __future__ import annotations

import os
from pathlib import Path

import pytest

from holdfast.adapters.identity.regular_file import open_regular_file, read_small_file


def _open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    return path


@pytest.mark.parametrize("max_bytes", [10, 11, 1_000_000])
def test_read_file_that_is_small_enough_returns_all_of_it(file: Path, max_bytes: int) -> None:
    with open_regular_file(file) as opened:
        assert read_small_file(opened, max_bytes=max_bytes) == b"0123456789"


@pytest.mark.parametrize("max_bytes", [0, 9])
def test_read_file_that_is_too_long_is_refused_after_one_byte_more(file: Path, max_bytes: int) -> None:
    with open_regular_file(file) as opened:
        with pytest.raises(OSError, match=f"is longer than {max_bytes} bytes"):
            read_small_file(opened, max_bytes=max_bytes)

        assert opened.tell() == max_bytes + 1


def test_open_link_to_a_file_follows_it(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)

    with open_regular_file(link) as opened:
        assert opened.read() == b"0123456789"


def test_open_link_where_none_may_be_is_refused(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)

    with (
        pytest.raises(OSError, match="is a symbolic link; name the file itself"),
        open_regular_file(link, may_be_link=False),
    ):
        pytest.fail("was opened")


def test_open_link_to_itself_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(link)

    with pytest.raises(OSError, match="symbolic links"), open_regular_file(link):
        pytest.fail("was opened")


def _make_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [_make_pipe, Path.mkdir], ids=["pipe", "folder"])
def test_open_what_is_no_regular_file_is_refused_and_leaves_nothing_open(tmp_path: Path, make: object) -> None:
    assert callable(make)
    make(tmp_path / "odd")
    before = _open_descriptors()

    for _ in range(3):
        with pytest.raises(OSError, match="is no regular file"), open_regular_file(tmp_path / "odd"):
            pytest.fail("was opened")

    assert _open_descriptors() == before


def test_open_and_read_leaves_nothing_open(file: Path) -> None:
    before = _open_descriptors()

    with open_regular_file(file):
        assert _open_descriptors() == before + 1

    assert _open_descriptors() == before
