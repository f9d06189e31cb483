"""Any server that speaks as OpenAI's chat completions do; needs the extra ``openai``."""

from holdfast.adapters.inference.openai.dialect import OpenAIDialect

__all__ = ["OpenAIDialect"]
