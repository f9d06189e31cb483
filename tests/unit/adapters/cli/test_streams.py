from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from holdfast.adapters.cli.streams import one_line, printable, write_err, write_json, write_out


@pytest.fixture
def unread() -> Iterator[TextIO]:
    """Return a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        yield stream


@pytest.fixture
def full() -> Iterator[TextIO]:
    """Return a file on a full disk."""
    with open("/dev/full", "w") as stream:  # noqa: PTH123 - as a shell opens it
        yield stream


def _leads_nowhere(stream: TextIO) -> bool:
    return os.path.samestat(os.fstat(stream.fileno()), Path(os.devnull).stat())


def test_reader_that_has_gone_is_no_error_then_or_later(unread: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", unread)
    monkeypatch.setattr(sys, "stderr", unread)

    write_out("first\n")
    write_out("second\n")
    write_err("third\n")

    assert _leads_nowhere(unread)
    unread.write("what Python flushes at exit")
    unread.flush()


def test_stdout_that_cannot_be_written_is_one_line_and_an_exit_code(
    full: TextIO, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", full)

    with pytest.raises(SystemExit) as caught:
        write_out("the answer\n")

    assert caught.value.code == 3
    assert capsys.readouterr().err == "holdfast: standard output cannot be written (No space left on device)\n"


def test_stderr_that_cannot_be_written_is_left_alone(full: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", full)

    write_err("nobody will know\n")

    assert _leads_nowhere(full)
    full.flush()


def test_closed_streams_are_left_alone(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)

    write_out("nowhere")
    write_err("nowhere")

    assert capfd.readouterr() == ("", "")


def test_text_that_the_encoding_cannot_hold_is_written_as_far_as_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)

        write_out("naïve \ud800\n")

    assert (tmp_path / "out").read_bytes() == b"na?ve ?\n"


def test_stream_without_an_encoding_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)

    write_out("naïve\n")

    assert stream.getvalue() == "naïve\n"


def test_json_is_one_line_of_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    write_json({"text": "naïve \ud800\n"})

    written = capsys.readouterr().out
    assert written.isascii()
    assert written.count("\n") == 1
    assert json.loads(written) == {"text": "naïve \ud800\n"}


def test_text_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2Jb\x07\rc\x7f\x9bd") == "a\ufffd[2Jb\ufffd\ufffdc\ufffd\ufffdd"


def test_text_that_only_looks_odd_stays_as_it_is() -> None:
    text = "one\ttwo\nthree\u3000four\u00a0five 👩\u200d🚀"

    assert printable(text) == text


def test_line_stays_one_line_and_reads_as_it_did() -> None:
    assert one_line("a\r\nb\u2028c") == "a b c"
