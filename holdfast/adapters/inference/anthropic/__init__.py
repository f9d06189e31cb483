"""Any server that speaks as Anthropic's Messages API does; needs the extra ``openai``, whose drivers it shares."""

from holdfast.adapters.inference.anthropic.dialect import AnthropicDialect

__all__ = ["AnthropicDialect"]
