"""From a backend's completion to what the caller asked for.

Responsibility: take JSON out of the Markdown that models like to wrap it in.
Guarantees: text that is JSON already, or that does not hold exactly one JSON block, is returned as it is; what was
    asked for as text is never touched; the work is linear in the text.
Not responsible for: whether it is valid JSON, or has the right shape.
Source: CommonMark 0.31, section 4.5; read more loosely where models do (see `strip_json_fences`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final

from holdfast.ports.inference import Completion, Parameters, ResponseFormat

__all__ = ["is_seen_whole", "post_process", "strip_json_fences"]

_JSON_TAGS: Final = frozenset({"json", "json5", "jsonc"})
_SHORTEST_FENCE: Final = 3


def post_process(completion: Completion, parameters: Parameters) -> Completion:
    """Return `completion` in the form that `parameters` ask for."""
    if not is_seen_whole(parameters):
        return completion
    text = strip_json_fences(completion.text)
    return completion if text == completion.text else dataclasses.replace(completion, text=text)


def is_seen_whole(parameters: Parameters) -> bool:
    """Return whether `post_process` has to see a whole text, so that none of it may go out before the end."""
    return parameters.response_format is ResponseFormat.JSON


def strip_json_fences(text: str) -> str:
    r"""Return the content of the one JSON block in `text`, or `text` itself.

    A fenced block holds JSON if its tag says so, or if it has no tag and begins with ``{`` or ``[``. Prose and blocks
    in other languages are dropped from around it; with two JSON blocks nothing is. Looser than CommonMark, because
    models are: the content may share a line with either fence, the closing fence may be missing, and a second pair of
    fences may stand around the block.

    Example:
        >>> strip_json_fences('Here you are:\n```json\n{"answer": 42}\n```\nAnything else?')
        '{"answer": 42}'

    Complexity: linear.
    """
    if _begins_json(text):
        return text
    found = [content for block in _blocks(text) if (content := block.json())]
    return found[0] if len(found) == 1 else text


def _begins_json(text: str) -> bool:
    return text.lstrip()[:1] in {"{", "["}


class _Block:
    """A fenced block whose opening line was just read."""

    def __init__(self, fence: str, tag: str) -> None:
        self._fence = fence
        self._tag = tag
        self._lines: list[str] = []

    @property
    def blank(self) -> bool:
        return not self._lines

    def before_closing_fence(self, line: str) -> str | None:
        """Return what stands before the closing fence at the end of `line`, or None if there is no such fence."""
        stripped = line.rstrip()
        content = stripped.rstrip(self._fence[0])
        return content if len(stripped) - len(content) >= len(self._fence) else None

    def append(self, line: str) -> None:
        if self._lines or line.strip():
            self._lines.append(line)

    def json(self) -> str:
        """Return the content if it is meant to be JSON, otherwise nothing."""
        content = "\n".join(self._lines).strip()
        return content if self._tag in _JSON_TAGS or (not self._tag and _begins_json(content)) else ""


def _blocks(text: str) -> Iterator[_Block]:
    block: _Block | None = None
    # Not splitlines(): a U+2028 inside a JSON string ends no line.
    for line in text.split("\n"):
        content = line
        if block is None or (block.blank and block.before_closing_fence(line) is None):
            block, content = _opened_by(line) or (block, line)
        if block is None:
            continue
        last = block.before_closing_fence(content)
        block.append(content if last is None else last)
        if last is not None:
            yield block
            block = None
    if block is not None:
        yield block


def _opened_by(line: str) -> tuple[_Block, str] | None:
    """Return the block that `line` opens and the content that follows on the same line."""
    stripped = line.lstrip()  # what ends the line belongs to the content
    info = stripped.lstrip(stripped[:1]) if stripped[:1] in {"`", "~"} else stripped
    fence = stripped[: len(stripped) - len(info)]
    if len(fence) < _SHORTEST_FENCE:
        return None
    tag, rest = _split_info(info.lstrip())
    if _begins_json(rest):
        return _Block(fence, tag), rest
    if fence[0] in info:
        return None  # a code span within one line
    return _Block(fence, tag), ""


def _split_info(info: str) -> tuple[str, str]:
    end = next((at for at, letter in enumerate(info) if not letter.isalnum()), len(info))
    return info[:end].lower(), info[end:]
