"""GGUF out, through the `gguf` package's writer: the keys llama.cpp's own converter writes, tensors one at a time.

Norms are float32, as llama.cpp's kernels want them; exact from bf16 and fp16. wq and wk go out as they stand (see gguf.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch

from mistral7b.checkpoint.gguf_config import ARCHITECTURE, TRAINED_CONTEXT
from mistral7b.checkpoint.spm import SpmModel
from mistral7b.checkpoint.write import Row, Wrote
from mistral7b.config import ModelConfig
from mistral7b.errors import MismatchError

# numpy has no bfloat16: its bits travel as 16-bit integers.
_TYPES: dict[torch.dtype, tuple[gguf.GGMLQuantizationType, type[np.generic], gguf.LlamaFileType]] = {
    torch.float32: (gguf.GGMLQuantizationType.F32, np.float32, gguf.LlamaFileType.ALL_F32),
    torch.float16: (gguf.GGMLQuantizationType.F16, np.float16, gguf.LlamaFileType.MOSTLY_F16),
    torch.bfloat16: (gguf.GGMLQuantizationType.BF16, np.uint16, gguf.LlamaFileType.MOSTLY_BF16),
}


@dataclass(frozen=True, kw_only=True)
class GgufMeta:
    """What a GGUF says beside its tensors. Contexts in tokens; `chat_template` is the Jinja of a chat model."""

    name: str
    config: ModelConfig
    max_positions: int
    trained_context: int | None
    eos_id: int
    tokenizer: SpmModel | None
    chat_template: str | None


def write_gguf(path: Path, meta: GgufMeta, rows: Sequence[Row], wrote: Wrote) -> None:
    """One GGUF file with `rows`, named as in GGUF, in their order.

    Raises OSError, and MismatchError if the tokenizer has another number of pieces than the model has embeddings.
    """
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    try:
        _add_config(writer, meta, max(rows, key=lambda row: row.n_bytes).dtype)
        if meta.tokenizer is not None:
            _add_tokenizer(writer, meta.tokenizer, meta)
        for row in rows:
            kind, stored, _ = _TYPES[row.dtype]
            writer.add_tensor_info(row.name, row.shape, np.dtype(stored), row.n_bytes, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for row in rows:
            writer.write_tensor_data(np.frombuffer(row.data(), dtype=_TYPES[row.dtype][1]))
            wrote(row.n_bytes)
    finally:
        writer.close()


def _add_config(writer: gguf.GGUFWriter, meta: GgufMeta, dtype: torch.dtype) -> None:
    config = meta.config
    writer.add_name(meta.name)
    writer.add_type("model")
    writer.add_file_type(_TYPES[dtype][2])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(meta.max_positions)
    writer.add_embedding_length(config.dim)
    writer.add_block_count(config.n_layers)
    writer.add_feed_forward_length(config.hidden_dim)
    writer.add_head_count(config.n_heads)
    writer.add_head_count_kv(config.n_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_vocab_size(config.vocab_size)
    if config.sliding_window is not None:
        writer.add_sliding_window(config.sliding_window)
    if meta.trained_context is not None:
        writer.add_uint32(TRAINED_CONTEXT, meta.trained_context)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: SpmModel, meta: GgufMeta) -> None:
    if len(tokenizer.pieces) != meta.config.vocab_size:
        raise MismatchError(
            f"the tokenizer knows {len(tokenizer.pieces):,} ids, the model {meta.config.vocab_size:,}: "
            "one belongs to another model; put the right tokenizer.model into the folder"
        )
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([piece.text for piece in tokenizer.pieces])
    writer.add_token_scores([piece.score for piece in tokenizer.pieces])
    writer.add_token_types([piece.type for piece in tokenizer.pieces])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(meta.eos_id)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(tokenizer.add_dummy_prefix)
    if tokenizer.remove_extra_whitespaces:
        writer.add_remove_extra_whitespaces(True)
    if meta.chat_template is not None:
        writer.add_chat_template(meta.chat_template)
