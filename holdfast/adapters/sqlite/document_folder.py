"""The documents under one folder.

Responsibility: find the files that match, tell whether one has changed, and read one as text.
Guarantees: no link to a folder is followed, so loops of links do no harm; what cannot be read does not keep the rest
    from being found; nothing is written.
Not responsible for: what the text says, and keeping it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["DocumentFolder", "Listing", "Stamp", "UnusableDocumentError"]

_GLOB_TOKEN: Final = re.compile(r"(\*\*/|\*\*|\*|\?)")
_GLOB_AS_REGEX: Final = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


class UnusableDocumentError(Exception):
    """The file can be read, but is no document; the message says why."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What changes when a file does; compared, never ordered."""

    mtime_ns: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a folder holds.

    Args:
        documents: the files that match, by path relative to the folder.
        unreadable: why a file or a subfolder could not be looked at, by the same kind of path; ``""`` is the folder.
    """

    documents: dict[str, Stamp] = field(default_factory=dict[str, Stamp])
    unreadable: dict[str, str] = field(default_factory=dict[str, str])

    def may_hold(self, source: str) -> bool:
        """Return whether the file is there, or stands where nobody could look."""
        return source in self.documents or any(
            not place or source == place or source.startswith(f"{place}/") for place in self.unreadable
        )


class DocumentFolder:
    """A folder and the patterns that choose from it.

    Args:
        root: the folder.
        include: patterns of the files to take.
        exclude: patterns of the files and subfolders to leave out.
        max_file_bytes: larger files are no documents.

    A pattern matches the whole path below the folder, as `pathlib.PurePath.full_match` does: ``*`` stays within one
    name, and ``**/`` stands for any number of subfolders, none included. A link to a file is read like the file.
    """

    def __init__(self, root: Path, *, include: Iterable[str], exclude: Iterable[str], max_file_bytes: int) -> None:
        self.root = root
        self._included = _matcher(include)
        self._excluded = _matcher(exclude)
        self._max_file_bytes = max_file_bytes

    def scan(self) -> Listing:
        """Return what is there now, in order of path.

        Complexity: one `stat` for each file that matches.
        """
        found = Listing()
        pending = [""]
        while pending:
            place = pending.pop()
            try:
                with os.scandir(self.root / place) as entries:
                    for entry in entries:
                        pending += self._look_at(entry, f"{place}/{entry.name}" if place else entry.name, found)
            except OSError as error:
                if place and isinstance(error, FileNotFoundError):
                    continue  # it has just been deleted
                found.unreadable[place] = _reason(error)
        return Listing(documents=dict(sorted(found.documents.items())), unreadable=found.unreadable)

    def _look_at(self, entry: os.DirEntry[str], source: str, found: Listing) -> list[str]:
        """Note what `entry` is, and return it if it is a folder to look into."""
        if self._excluded(source):
            return []
        sayable = source.encode("utf-8", "replace").decode()
        if sayable != source:
            found.unreadable[sayable] = "its name is not UTF-8"
            return []
        try:
            if entry.is_dir(follow_symlinks=False):
                return [source]
            if self._included(source) and entry.is_file():
                status = entry.stat()
                found.documents[source] = Stamp(status.st_mtime_ns, status.st_size)
        except FileNotFoundError:
            pass  # it has just been deleted
        except OSError as error:
            found.unreadable[source] = _reason(error)
        return []

    def read(self, source: str) -> tuple[Stamp, str]:
        """Return one file's text, with its stamp from before it was read.

        Bytes that are not UTF-8 become U+FFFD, so that the rest can still be found.

        Raises:
            UnusableDocumentError: if it is too large, or binary.
            OSError: if it cannot be read.
        """
        with (self.root / source).open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(self._max_file_bytes + 1)
        if len(content) > self._max_file_bytes:
            raise UnusableDocumentError(f"larger than {self._max_file_bytes} bytes")
        if b"\0" in content:
            raise UnusableDocumentError("not a text file")
        return Stamp(status.st_mtime_ns, status.st_size), content.decode("utf-8-sig", "replace")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _matcher(patterns: Iterable[str]) -> Callable[[str], re.Match[str] | None]:
    alternatives = (
        "".join(_GLOB_AS_REGEX.get(token) or re.escape(token) for token in _GLOB_TOKEN.split(pattern))
        for pattern in patterns
    )
    return re.compile("|".join(alternatives) or r"(?!)", re.DOTALL).fullmatch
