"""How many tokens a call will take, before anybody has counted them.

Responsibility: a quick estimate of what a request reads and writes, for limits that must decide before the call.
Guarantees: linear in the texts, in bounded memory however long they are; the same texts always give the same number.
Not responsible for: what was really used: the backend says that in its `Usage`. Being right: only a model's own
    tokenizer is, and the error of this estimate is unmeasured for every model.
Sources: four bytes a token: OpenAI's rule of thumb for English, "1 token ~= 4 chars in English",
    https://help.openai.com/en/articles/4936856-what-are-tokens-and-how-to-count-them. It is applied to bytes of UTF-8,
    because most tokenizers work on these, and other scripts take more tokens for each character. Four tokens a message
    for its role and its delimiters: the OpenAI cookbook's `num_tokens_from_messages`, which has 3 or 4, by model,
    https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from holdfast.domain.text_size import utf8_size_bytes
from holdfast.ports.inference import Message, Parameters, Prompt, Tool
from holdfast.ports.service import Request

__all__ = [
    "DEFAULT_OUTPUT_TOKENS",
    "TokenEstimate",
    "estimate_prompt_tokens",
    "estimate_text_tokens",
    "estimate_tokens",
]

DEFAULT_OUTPUT_TOKENS: Final = 256
"""Tokens taken for the answer where the request sets no bound to it; unmeasured."""

_BYTES_PER_TOKEN: Final = 4
_TOKENS_PER_MESSAGE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEstimate:
    """What a call will probably take.

    Args:
        input_tokens: of the conversation.
        output_tokens: of the answer.
    """

    input_tokens: int
    output_tokens: int

    @property
    def total(self) -> int:
        """Both together, which is what a limit on tokens counts."""
        return self.input_tokens + self.output_tokens


def estimate_tokens(request: Request, *, default_output_tokens: int = DEFAULT_OUTPUT_TOKENS) -> TokenEstimate:
    """Return what `request` will probably take, without the passages that may be put in front of it.

    Args:
        request: its messages and its `max_tokens` are what counts.
        default_output_tokens: taken for the answer where the request has no `max_tokens`.

    Complexity: linear in the texts.

    Example:
        >>> from holdfast.ports.inference import Role
        >>> estimate_tokens(Request(messages=(Message(role=Role.USER, content="What is the answer?"),)))
        TokenEstimate(input_tokens=9, output_tokens=256)
    """
    return _estimate(request.messages, request.parameters, default_output_tokens)


def estimate_prompt_tokens(prompt: Prompt, *, default_output_tokens: int = DEFAULT_OUTPUT_TOKENS) -> TokenEstimate:
    """Return what `prompt` will probably take; its passages count as they are rendered into its messages.

    Args:
        prompt: its messages and its `max_tokens` are what counts.
        default_output_tokens: taken for the answer where the prompt has no `max_tokens`.

    Complexity: linear in the texts.
    """
    return _estimate(prompt.messages, prompt.parameters, default_output_tokens)


def estimate_text_tokens(size_bytes: int) -> int:
    """Return how many tokens a text of `size_bytes` bytes of UTF-8 probably is.

    Example:
        >>> estimate_text_tokens(9)
        3
    """
    return -(-size_bytes // _BYTES_PER_TOKEN)


def _estimate(messages: Sequence[Message], parameters: Parameters, default_output_tokens: int) -> TokenEstimate:
    told: tuple[Message | Tool, ...] = (*messages, *parameters.tools)
    size_bytes = 0
    for one in told:
        for text in one.texts:
            size_bytes += utf8_size_bytes(text)
    max_tokens = parameters.max_tokens
    return TokenEstimate(
        input_tokens=estimate_text_tokens(size_bytes) + _TOKENS_PER_MESSAGE * len(messages),
        output_tokens=default_output_tokens if max_tokens is None else max_tokens,
    )
