"""Writes a language model of half a megabyte, for tests of real servers; its argument names the file.

A llama of two layers with random weights and a vocabulary of single characters, as GGUF. Its text is nonsense of
printable ASCII, and the same each time at temperature 0. The same bytes on every machine.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np

_WIDTH: Final = 64
_LAYERS: Final = 2
_HEADS: Final = 4
_CONTEXT: Final = 4096
_SPECIAL: Final = ("<unk>", "<s>", "</s>")
_BYTES: Final = tuple(f"<0x{value:02X}>" for value in range(256))
_LETTERS: Final = ("\u2581", *(chr(code) for code in range(33, 127)))  # the first stands for a space
_TEMPLATE: Final = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}\n{% endfor %}<|assistant|>"


def write_model(path: Path) -> None:
    """Write the model to `path`, whose folder is made when missing; it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(".new")
    writer: Any = gguf.GGUFWriter(str(written), "llama")
    _describe(writer)
    random = np.random.default_rng(0)

    def add(name: str, *shape: int, spread: float) -> None:
        writer.add_tensor(name, (random.standard_normal(shape) * spread).astype(np.float32))

    vocabulary = len(_SPECIAL) + len(_BYTES) + len(_LETTERS)
    add("token_embd.weight", vocabulary, _WIDTH, spread=1.0)
    writer.add_tensor("output_norm.weight", np.ones(_WIDTH, np.float32))
    output = (random.standard_normal((vocabulary, _WIDTH)) * 0.3).astype(np.float32)
    output[[0, 1, *range(len(_SPECIAL), len(_SPECIAL) + len(_BYTES))]] = 0  # so that all that is written is printable
    writer.add_tensor("output.weight", output)
    for layer in range(_LAYERS):
        block = f"blk.{layer}"
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{block}.{norm}.weight", np.ones(_WIDTH, np.float32))
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"{block}.{part}.weight", _WIDTH, _WIDTH, spread=0.2)
        for part in ("ffn_gate", "ffn_up"):
            add(f"{block}.{part}.weight", 2 * _WIDTH, _WIDTH, spread=0.2)
        add(f"{block}.ffn_down.weight", _WIDTH, 2 * _WIDTH, spread=0.2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    written.replace(path)


def _describe(writer: Any) -> None:  # noqa: ANN401 - has no types
    tokens = (*_SPECIAL, *_BYTES, *_LETTERS)
    kinds = (
        *(gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL),
        *(gguf.TokenType.BYTE for _ in _BYTES),
        *(gguf.TokenType.NORMAL for _ in _LETTERS),
    )
    writer.add_name("tiny")
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(2 * _WIDTH)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token.encode() for token in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(value=True)
    writer.add_add_eos_token(value=False)
    writer.add_chat_template(_TEMPLATE)


if __name__ == "__main__":
    write_model(Path(sys.argv[1]))
