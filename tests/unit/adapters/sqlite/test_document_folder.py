from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.adapters.sqlite.document_folder import DocumentFolder, Stamp, UnusableDocumentError


def folder(root: Path, *, include: tuple[str, ...] = ("**/*.md",), exclude: tuple[str, ...] = ()) -> DocumentFolder:
    return DocumentFolder(root, include=include, exclude=exclude, max_file_bytes=100)


def make(root: Path, *sources: str) -> None:
    for source in sources:
        path = root / source
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text", encoding="utf-8")


def test_scan_lists_matching_files_in_order_of_path(tmp_path: Path) -> None:
    make(tmp_path, "b.md", "a/c.md", "a.md", "d.rst")

    assert list(folder(tmp_path).scan().documents) == ["a.md", "a/c.md", "b.md"]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        pytest.param(("*.md",), ["a.md", "b.md"], id="one-level"),
        pytest.param(("**/*.md",), ["a.md", "b.md", "x/a.md", "x/y/a.md"], id="any-level"),
        pytest.param(("x/**",), ["x/a.md", "x/y/a.md", "x/y/c[1].txt"], id="everything-below"),
        pytest.param(("**/y/*.md",), ["x/y/a.md"], id="folder-at-any-level"),
        pytest.param(("?.md",), ["a.md", "b.md"], id="one-letter"),
        pytest.param(("**/c[1].txt",), ["x/y/c[1].txt"], id="brackets-are-letters"),
        pytest.param(("a.md", "x/a.md"), ["a.md", "x/a.md"], id="several"),
        pytest.param((), [], id="none"),
    ],
)
def test_scan_include_patterns_match_whole_paths(
    tmp_path: Path, patterns: tuple[str, ...], expected: list[str]
) -> None:
    make(tmp_path, "a.md", "b.md", "x/a.md", "x/y/a.md", "x/y/c[1].txt")

    assert list(folder(tmp_path, include=patterns).scan().documents) == expected


def test_scan_excluded_file_and_subfolder_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a.md", "b.md", "x/a.md", "y/x/a.md")

    listing = folder(tmp_path, exclude=("b.md", "**/x")).scan()

    assert list(listing.documents) == ["a.md"]


def test_scan_stamp_tells_size_and_modification_time(tmp_path: Path) -> None:
    make(tmp_path, "a.md")
    os.utime(tmp_path / "a.md", ns=(5, 7))

    assert folder(tmp_path).scan().documents == {"a.md": Stamp(7, 4)}


def test_scan_missing_folder_is_unreadable(tmp_path: Path) -> None:
    listing = folder(tmp_path / "missing").scan()

    assert listing.documents == {}
    assert listing.unreadable == {"": "No such file or directory"}
    assert listing.may_hold("anything.md")


def test_scan_file_in_place_of_the_folder_is_unreadable(tmp_path: Path) -> None:
    make(tmp_path, "a.md")

    assert folder(tmp_path / "a.md").scan().unreadable == {"": "Not a directory"}


def test_scan_loop_of_folder_links_ends(tmp_path: Path) -> None:
    make(tmp_path, "x/a.md")
    (tmp_path / "x" / "loop").symlink_to(tmp_path, target_is_directory=True)

    assert list(folder(tmp_path).scan().documents) == ["x/a.md"]


def test_scan_link_to_itself_is_unreadable_and_the_others_are_found(tmp_path: Path) -> None:
    make(tmp_path, "a.md")
    (tmp_path / "loop.md").symlink_to(tmp_path / "loop.md")

    listing = folder(tmp_path).scan()

    assert list(listing.documents) == ["a.md"]
    assert list(listing.unreadable) == ["loop.md"]
    assert listing.may_hold("loop.md")
    assert not listing.may_hold("loop")


def test_scan_link_to_a_file_is_a_document_and_a_dangling_one_is_not(tmp_path: Path) -> None:
    make(tmp_path, "docs/a.md", "outside/b.md")
    (tmp_path / "docs" / "link.md").symlink_to(tmp_path / "outside" / "b.md")
    (tmp_path / "docs" / "dangling.md").symlink_to(tmp_path / "nothing")

    listing = folder(tmp_path / "docs").scan()

    assert list(listing.documents) == ["a.md", "link.md"]
    assert listing.unreadable == {}


def test_scan_pipe_and_folder_named_like_documents_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    (tmp_path / "folder.md").mkdir()

    assert folder(tmp_path).scan().documents == {}


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system refuses such names itself")
def test_scan_name_that_is_not_utf8_is_skipped_with_a_reason(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.md")).write_text("text", encoding="utf-8")

    listing = folder(tmp_path).scan()

    assert listing.documents == {}
    assert listing.unreadable == {"caf?.md": "its name is not UTF-8"}


def test_scan_subfolder_deleted_meanwhile_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.md", "x/b.md")
    scandir = os.scandir

    def deleting_scandir(path: Path) -> object:
        if path.name == "x":
            (path / "b.md").unlink()
            path.rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deleting_scandir)
    listing = folder(tmp_path).scan()

    assert list(listing.documents) == ["a.md"]
    assert listing.unreadable == {}


def test_scan_file_deleted_meanwhile_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.md", "b.md")
    scandir = os.scandir

    @contextmanager
    def deleting_scandir(path: Path) -> Generator[Iterator[os.DirEntry[str]]]:
        with scandir(path) as entries:
            listed = list(entries)
        (path / "b.md").unlink()
        yield iter(listed)

    monkeypatch.setattr(os, "scandir", deleting_scandir)
    listing = folder(tmp_path).scan()

    assert list(listing.documents) == ["a.md"]
    assert listing.unreadable == {}


def test_scan_unreadable_subfolder_may_still_hold_what_it_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.md", "x/b.md")
    scandir = os.scandir

    def failing_scandir(path: Path) -> object:
        if path.name == "x":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing_scandir)
    listing = folder(tmp_path).scan()

    assert listing.unreadable == {"x": "Permission denied"}
    assert [listing.may_hold(source) for source in ("a.md", "x/b.md", "xb.md", "b.md")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"", "", id="empty"),
        pytest.param("é\r\n".encode(), "é\r\n", id="utf8"),
        pytest.param(b"\xef\xbb\xbftext", "text", id="byte-order-mark"),
        pytest.param("café text".encode("latin-1"), "caf\ufffd text", id="latin-1"),
    ],
)
def test_read_text_is_decoded(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "a.md").write_bytes(content)

    stamp, text = folder(tmp_path).read("a.md")

    assert text == expected
    assert stamp == folder(tmp_path).scan().documents["a.md"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"\x7fELF\x00\x01", "not a text file", id="binary"),
        pytest.param("text".encode("utf-16"), "not a text file", id="utf-16"),
        pytest.param(b"x" * 101, "larger than 100 bytes", id="too-large"),
    ],
)
def test_read_what_is_no_document_says_why(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.md").write_bytes(content)

    with pytest.raises(UnusableDocumentError, match=reason):
        folder(tmp_path).read("a.md")


def test_read_missing_file_raises_as_the_system_does(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        folder(tmp_path).read("a.md")
