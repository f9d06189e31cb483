"""Standard output and standard error.

Responsibility: write text and JSON so that no reader, terminal or encoding can break a command.
Guarantees: a reader that has gone (``| head``) is no error; a stream that cannot be written otherwise (``>/dev/full``)
    is one line on stderr and `SystemExit`; text from outside cannot steer the terminal.
Not responsible for: what is written.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from typing import Final, TextIO

from holdfast.adapters.cli.exit_codes import ExitCode

__all__ = ["one_line", "printable", "write_err", "write_json", "write_notice", "write_out"]

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def write_out(text: str) -> None:
    """Write to stdout.

    Raises:
        SystemExit: if it cannot be written, and a reader that has gone is not the reason.
    """
    try:
        _write(sys.stdout, text)
    except OSError as error:
        _discard_rest(sys.stdout)
        write_err(f"holdfast: standard output cannot be written ({error.strerror})\n")
        raise SystemExit(ExitCode.INTERRUPTED) from error


def write_json(document: Mapping[str, object]) -> None:
    """Write one JSON object and a line end to stdout, in ASCII, so that any encoding will do."""
    write_out(f"{json.dumps(document)}\n")


def write_err(text: str) -> None:
    """Write to stderr; where that is impossible, nobody is left to tell."""
    try:
        _write(sys.stderr, text)
    except OSError:
        _discard_rest(sys.stderr)


def write_notice(sentence: str) -> None:
    """Write a sentence for the user to stderr, as one line."""
    write_err(f"holdfast: {one_line(sentence)}\n")


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # the caller has closed it: ``>&-``
        return
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()
    except BrokenPipeError:
        _discard_rest(stream)


def _discard_rest(stream: TextIO) -> None:
    # What is still buffered would fail once more when Python exits. See the note on SIGPIPE in Python's `signal`.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def printable(text: str) -> str:
    """Return text from outside with every character replaced that a terminal obeys; line ends and tabs stay."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    r"""Return `text` as one printable line.

    Example:
        >>> one_line("no such file: a\nb")
        'no such file: a b'
    """
    return printable(" ".join(text.splitlines()))
