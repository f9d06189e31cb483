from __future__ import annotations

import hashlib
import json
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.application.batch_input import InputScan, open_input, read_line
from holdfast.ports.errors import BatchChangedError, BatchInputError
from holdfast.ports.journal import BatchItem, FailureKind

LIMIT = 100


def scan(path: Path, max_line_bytes: int = LIMIT) -> tuple[list[BatchItem], str]:
    items: list[BatchItem] = []
    with open_input(path) as file:
        scanner = InputScan(file, path, max_line_bytes)
        while batch := scanner.next_items():
            items += batch
    return items, scanner.input_sha256()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "input.jsonl"


def question(number: int, name: str | None = None) -> bytes:
    keys = {"question": f"Why {number}?"} | ({"id": name} if name is not None else {})
    return json.dumps(keys).encode()


def test_scan_numbers_lines_and_names_those_without_an_id_after_them(path: Path) -> None:
    path.write_bytes(question(1) + b"\n" + question(2, "second") + b"\n" + question(3) + b"\n")

    items, _ = scan(path)

    assert [(item.line, item.id, item.rejection) for item in items] == [
        (1, "line-1", None),
        (2, "second", None),
        (3, "line-3", None),
    ]


@pytest.mark.parametrize(("end", "lines"), [(b"", 1), (b"\n", 1), (b"\n\n", 2), (b"\n ", 2)])
def test_scan_takes_a_last_line_with_or_without_a_line_end(path: Path, end: bytes, lines: int) -> None:
    path.write_bytes(question(1) + end)

    items, _ = scan(path)

    assert [item.rejection.kind if item.rejection else None for item in items] == [
        None,
        FailureKind.BLANK_LINE,
    ][:lines]


def test_scan_of_an_empty_file_finds_nothing(path: Path) -> None:
    path.write_bytes(b"")

    assert scan(path) == ([], hashlib.sha256(b"").hexdigest())


def test_scan_rejects_bad_lines_by_number_and_takes_the_others(path: Path) -> None:
    lines = [question(1), b"", b"{", b"\xff", b"a\0b", question(6) + b"\r", b"x" * (LIMIT + 1), question(8)]
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))

    items, _ = scan(path)

    assert [item.rejection.kind if item.rejection else None for item in items] == [
        FailureKind.BYTE_ORDER_MARK,
        FailureKind.BLANK_LINE,
        FailureKind.NOT_JSON,
        FailureKind.NOT_UTF8,
        FailureKind.NUL,
        FailureKind.CARRIAGE_RETURN,
        FailureKind.TOO_LARGE,
        None,
    ]
    assert [item.line for item in items] == list(range(1, 9))


@pytest.mark.parametrize(("length", "taken"), [(LIMIT - 1, True), (LIMIT, True), (LIMIT + 1, False)])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_scan_takes_lines_up_to_the_limit_without_their_line_end(
    path: Path, length: int, taken: bool, end: bytes
) -> None:
    line = question(1)
    path.write_bytes(line + b" " * (length - len(line)) + end + (question(2) if end else b""))

    items, _ = scan(path)

    assert (items[0].rejection is None) is taken
    assert items[0].size_bytes == length
    assert len(items) == (2 if end else 1)


def test_scan_of_a_line_far_too_large_takes_no_memory_for_it(path: Path) -> None:
    with path.open("wb") as file:
        for _ in range(64):
            file.write(b"x" * 1024 * 1024)
        file.write(b"\n" + question(2))
    tracemalloc.start()

    items, sha256 = scan(path)

    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 8 * 1024 * 1024
    assert items[0].rejection is not None
    assert str(64 * 1024 * 1024) in items[0].rejection.reason
    assert items[1].rejection is None
    with path.open("rb") as file:
        assert sha256 == hashlib.file_digest(file, "sha256").hexdigest()


@given(st.lists(st.binary(max_size=150), max_size=30))
def test_scan_of_any_bytes_finds_every_line_again(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("scan") / "input.jsonl"
    content = b"\n".join(chunk.replace(b"id", b"no") for chunk in chunks)
    path.write_bytes(content)
    lines = content.split(b"\n")
    if lines[-1] == b"":
        lines.pop()

    items, sha256 = scan(path)

    assert [read_line(path, item) for item in items] == lines
    assert sha256 == hashlib.sha256(content).hexdigest()


def test_scan_in_batches_finds_the_same_as_one_read(path: Path) -> None:
    path.write_bytes(b"\n".join(question(number) for number in range(2500)))

    items, _ = scan(path)

    assert [item.line for item in items] == list(range(1, 2501))
    assert read_line(path, items[2345]) == question(2345)


@pytest.mark.parametrize("name", ["../x", "", "x" * 1_000_000, "a\nb", "a\0b"])
@pytest.mark.parametrize("otherwise_valid", [True, False])
def test_scan_refuses_a_hostile_id_with_its_line(path: Path, name: str, otherwise_valid: bool) -> None:
    line = json.dumps({"id": name, "question": "Why?" if otherwise_valid else 42}).encode()
    path.write_bytes(question(1) + b"\n" + line)

    with pytest.raises(BatchInputError) as caught:
        scan(path, max_line_bytes=2_000_000)

    assert caught.value.line == 2
    assert len(str(caught.value)) < 1000


def test_skip_gives_the_same_fingerprint_as_a_scan(path: Path) -> None:
    path.write_bytes(b"\n".join(question(number) for number in range(100_000)))
    _, scanned = scan(path)

    with open_input(path) as file:
        skipped = InputScan(file, path, LIMIT)
        while skipped.skip_some():
            pass

    assert skipped.input_sha256() == scanned


def test_open_of_a_missing_file_is_refused_in_one_line(path: Path) -> None:
    with pytest.raises(BatchInputError, match="No such file") as caught:
        open_input(path)

    assert "\n" not in str(caught.value)
    assert caught.value.path == str(path)


def test_open_of_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BatchInputError, match="directory"):
        open_input(tmp_path)


def test_open_of_a_fifo_is_refused_without_waiting_for_a_writer(path: Path) -> None:
    os.mkfifo(path)

    with pytest.raises(BatchInputError, match="regular file"):
        open_input(path)


def test_open_of_a_device_is_refused() -> None:
    with pytest.raises(BatchInputError, match="regular file"):
        open_input(Path(os.devnull))


def test_open_of_a_path_with_nul_is_refused() -> None:
    with pytest.raises(BatchInputError, match="null"):
        open_input(Path("a\0b"))


def test_open_of_an_unreadable_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)  # permission bits do not stop a test that runs as root

    with pytest.raises(BatchInputError, match="Permission denied"):
        open_input(path)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that opens but cannot be read")
def test_scan_of_a_file_that_cannot_be_read_on_is_refused() -> None:
    with pytest.raises(BatchInputError, match="Input/output error"):
        scan(Path("/proc/self/mem"))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that opens but cannot be read")
def test_read_of_a_line_that_cannot_be_read_any_more_is_refused() -> None:
    item = BatchItem(line=1, id="a", byte_offset=0, size_bytes=10, sha256=b"")

    with pytest.raises(BatchInputError, match="Input/output error"):
        read_line(Path("/proc/self/mem"), item)


def test_read_of_a_line_that_has_changed_is_refused_with_both_fingerprints(path: Path) -> None:
    path.write_bytes(question(1) + b"\n" + question(2))
    items, _ = scan(path)
    path.write_bytes(question(1) + b"\n" + question(3))

    with pytest.raises(BatchChangedError) as caught:
        read_line(path, items[1])

    assert caught.value.what == "input (line 2)"
    assert caught.value.recorded == hashlib.sha256(question(2)).hexdigest()
    assert caught.value.found == hashlib.sha256(question(3)).hexdigest()
    assert read_line(path, items[0]) == question(1)


def test_read_of_a_file_that_was_cut_short_is_refused(path: Path) -> None:
    path.write_bytes(question(1))
    items, _ = scan(path)
    path.write_bytes(b"")

    with pytest.raises(BatchChangedError):
        read_line(path, items[0])
