"""Answers in the documents' own words.

Responsibility: `StreamingBackend` without a language model: the statements of the prompt's passages that answer the
    last question best, each with its source.
Guarantees: every word of an answer stands in a passage that it cites; the same prompt always gives the same answer;
    when nothing fits it says so; usage is zero, since tokens are a model's unit and there is no model.
Not responsible for: reasoning, summing up and conversation. Parameters other than the response format have no effect:
    nothing is generated that they could shape.
"""

from __future__ import annotations

import json
import re
from typing import Final

import anyio.lowlevel

from holdfast.adapters.inference.sentence_choice import Choice, choose
from holdfast.ports.errors import BackendRequestError, ConfigurationError
from holdfast.ports.inference import Citation, Completion, Deliver, Prompt, ResponseFormat, Role, StreamingBackend

__all__ = ["ExtractiveBackend"]

_MODEL: Final = "extractive"
_NOTHING_FOUND: Final = "No passage was found for this question."
_PARAGRAPH_END: Final = re.compile(r"(?<=\n\n)")
_NOTHING_FITS: Final = "None of the passages that were found answers this question."


class ExtractiveBackend:
    """Answers with the best statements of the passages; any number of calls at once.

    Args:
        name: what errors call it.
        max_sentences: the most statements in one answer; default 3, unmeasured.

    Raises:
        ConfigurationError: `max_sentences` is below 1.

    Example:
        >>> import anyio
        >>> from holdfast.ports.inference import Message
        >>> from holdfast.ports.retrieval import Passage
        >>> text = "It was written in 1998. The pool lends connections, because making one takes long."
        >>> prompt = Prompt(
        ...     messages=(Message(role=Role.USER, content="Why does the pool lend connections?"),),
        ...     passages=(Passage(source="pool.md", heading="Purpose", text=text, score=1.0),),
        ... )
        >>> anyio.run(ExtractiveBackend("embedded").complete, prompt).text
        'The pool lends connections, because making one takes long. [pool.md § Purpose]'
    """

    def __init__(self, name: str, *, max_sentences: int = 3) -> None:
        if max_sentences < 1:
            raise ConfigurationError(f"must be at least 1, not {max_sentences!r}", path="extractive.max_sentences")
        self._name = name
        self._max_sentences = max_sentences

    async def complete(self, prompt: Prompt) -> Completion:
        """Return the statements that answer the last message of the user.

        With the response format JSON the text is an object: ``answer`` without citations, and ``citations`` as a list
        of objects with ``source`` and ``heading``.

        Raises:
            BackendRequestError: the prompt holds no message of a user.
        """
        await anyio.lowlevel.checkpoint()
        question = next((message.content for message in reversed(prompt.messages) if message.role is Role.USER), None)
        if question is None:
            raise BackendRequestError("the prompt holds no message of a user", backend=self._name)
        choices = choose(question, prompt.passages, limit=self._max_sentences)
        citations = tuple(
            dict.fromkeys(Citation(source=one.passage.source, heading=one.passage.heading) for one in choices)
        )
        as_json = prompt.parameters.response_format is ResponseFormat.JSON
        text = "\n\n".join(_paragraph(one, cited=not as_json) for one in choices)
        text = text or (_NOTHING_FITS if prompt.passages else _NOTHING_FOUND)
        if as_json:
            named = [{"source": citation.source, "heading": citation.heading} for citation in citations]
            text = json.dumps({"answer": text, "citations": named}, ensure_ascii=False)
        return Completion(text=text, model=_MODEL, citations=citations)

    async def stream(self, prompt: Prompt, deliver: Deliver) -> Completion:
        """Return what `complete` does, and hand it over paragraph by paragraph; JSON is one piece.

        Raises:
            BackendRequestError: the prompt holds no message of a user.
            Exception: whatever `deliver` raises.
        """
        completion = await self.complete(prompt)
        for paragraph in _PARAGRAPH_END.split(completion.text):
            await deliver(paragraph)
        return completion


def _paragraph(choice: Choice, *, cited: bool) -> str:
    """Join statements, and the citation if wanted; a listing stands on lines of its own."""
    citation = Citation(source=choice.passage.source, heading=choice.passage.heading)
    first, *others = (*choice.texts, citation.label) if cited else choice.texts
    paragraph = first
    for text in others:
        paragraph += f"\n{text}" if paragraph.endswith("```") or text.startswith("```") else f" {text}"
    return paragraph


_: type[StreamingBackend] = ExtractiveBackend
