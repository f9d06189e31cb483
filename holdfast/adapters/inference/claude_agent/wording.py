"""A prompt in the words that the agent takes, and JSON out of the words that it gives.

Responsibility: the one text that is asked, and the JSON within an answer.
Guarantees: no message can pass itself off as another one, whatever it says.
Not responsible for: the instructions beside it: see `holdfast.adapters.inference.text_prompt`; who carries them: see
    `holdfast.adapters.inference.claude_agent.exchange`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Final

from holdfast.ports.inference import Prompt, Role
from holdfast.ports.output import read_json_answer

__all__ = ["json_of", "question_of"]

_FENCE: Final = "```"
_TAG: Final = re.compile(r"\A[ \t]*\w*\s*")


def question_of(prompt: Prompt) -> str:
    r"""Return the last message, behind the conversation that led to it, if there was one.

    Example:
        >>> from holdfast.ports.inference import Message
        >>> said = (Message(role=Role.USER, content="1+1?"), Message(role=Role.ASSISTANT, content="2"))
        >>> print(question_of(Prompt(messages=(*said, Message(role=Role.USER, content="And 2+2?")))))
        This is the conversation so far, as JSON:
        [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]
        <BLANKLINE>
        Answer what the user says now:
        And 2+2?
    """
    spoken = [message for message in prompt.messages if message.role is not Role.SYSTEM]
    if not spoken:
        return ""
    *earlier, last = spoken
    if not earlier:
        return last.content
    so_far = json.dumps([{"role": message.role.value, "content": message.content} for message in earlier])
    return f"This is the conversation so far, as JSON:\n{so_far}\n\nAnswer what the user says now:\n{last.content}"


def json_of(answer: str) -> str | None:
    r"""Return the JSON that `answer` is or holds between Markdown fences; None if there is none.

    Example:
        >>> json_of('Here you are:\n```json\n{"answer": 42}\n```')
        '{"answer": 42}'
    """
    return next((text for text in map(str.strip, (answer, *_fenced(answer))) if _is_json(text)), None)


def _fenced(text: str) -> Iterator[str]:
    _, opened, behind = text.partition(_FENCE)
    if opened:
        yield _TAG.sub("", behind.rpartition(_FENCE)[0], count=1)  # all between the first fence and the last
        for block in text.split(_FENCE)[1::2]:
            yield _TAG.sub("", block, count=1)


def _is_json(text: str) -> bool:
    try:
        read_json_answer(text, max_chars=sys.maxsize)
    except ValueError:
        return False
    return True
