"""GGUF in: one self-describing file becomes a Checkpoint and a TensorSource under the consolidated names.

llama.cpp rotates adjacent pairs for this architecture (LLAMA_ROPE_TYPE_NORM), so its converter undoes HF's half-split
order of wq and wk: per head [2, head_dim/2] -> [head_dim/2, 2] (convert_hf_to_gguf.py, LlamaModel.permute, "reverse HF
permute back to original pth layout"). That is FACTS 3.5's inverse: rows in a GGUF stand as in consolidated files.
"""

from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize

from mistral7b.checkpoint.configs import DEFAULT_EOS, read_eos
from mistral7b.checkpoint.folder import Checkpoint, resolve_variant
from mistral7b.checkpoint.gguf_config import read_config
from mistral7b.checkpoint.gguf_header import GgufHeader, TensorInfo, read_header
from mistral7b.checkpoint.gguf_tokenizer import find_tokenizer
from mistral7b.checkpoint.source import ClosesItself, in_model_order
from mistral7b.errors import CheckpointError
from mistral7b.quant.formats import FORMATS, FormatName, PackedFormat
from mistral7b.quant.ggml import repack
from mistral7b.quant.matrix import PackedMatrix

_STORED = {
    GGMLQuantizationType.F32: torch.float32,
    GGMLQuantizationType.F16: torch.float16,
    GGMLQuantizationType.BF16: torch.bfloat16,
}
_QUANTISED = (
    GGMLQuantizationType.Q8_0,
    GGMLQuantizationType.Q4_0,
    GGMLQuantizationType.Q4_K,
    GGMLQuantizationType.Q6_K,
)
_PACKED: dict[GGMLQuantizationType, FormatName] = {GGMLQuantizationType.Q4_0: "q4_0", GGMLQuantizationType.Q8_0: "q8_0"}
_ROWS_AT_A_TIME = 256  # 14 MiB of float32 at the widest matrix of the 7B
_OUTER = {"token_embd": "tok_embeddings", "output_norm": "norm", "output": "output"}
_INNER = {
    "attn_norm": "attention_norm",
    "attn_q": "attention.wq",
    "attn_k": "attention.wk",
    "attn_v": "attention.wv",
    "attn_output": "attention.wo",
    "ffn_norm": "ffn_norm",
    "ffn_gate": "feed_forward.w1",
    "ffn_down": "feed_forward.w2",
    "ffn_up": "feed_forward.w3",
}
_TO_OUTER = {ours: theirs for theirs, ours in _OUTER.items()}
_TO_INNER = {ours: theirs for theirs, ours in _INNER.items()}


def open_gguf(path: Path) -> Checkpoint:
    """The model in the GGUF file `path`; reads its header only. `format` is "gguf".

    Raises CheckpointError for a file that is damaged, of another architecture or of a type that cannot be decoded,
    ConfigError and TokenizerError for metadata that is not Mistral 7B's.
    """
    header = read_header(path)
    read = read_config(header)
    kinds = Counter(info.type.name for info in _infos(path, header).values())
    stored = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
    tokenizer, tokenizer_notes = find_tokenizer(header)
    # A base model's file carries no chat template.
    chat = "instruct" if "tokenizer.chat_template" in header.fields else ""
    variant, candidates = resolve_variant(read.config, path, f"{header.fields.get('general.name', '')} {chat}")
    return Checkpoint(
        path=path,
        format="gguf",
        config=read.config,
        variant=variant,
        candidates=candidates,
        tokenizer=tokenizer,
        max_positions=read.context_length or (variant.max_positions if variant else None),
        trained_context=read.trained_context or (variant.trained_context if variant else None),
        eos_ids=read_eos(header.fields.get("tokenizer.ggml.eos_token_id"), str(path)) or DEFAULT_EOS,
        notes=[f"read GGUF header: {read.config.describe()}", f"tensors: {stored}", *read.notes, *tokenizer_notes],
    )


def from_gguf_name(name: str) -> str | None:
    """`blk.3.attn_q.weight` -> `layers.3.attention.wq.weight`; None for a tensor this network has no place for."""
    if match := re.fullmatch(r"blk\.(0|[1-9]\d*)\.(\w+)\.weight", name, re.ASCII):
        return f"layers.{match[1]}.{_INNER[match[2]]}.weight" if match[2] in _INNER else None
    stem = name.removesuffix(".weight")
    return f"{_OUTER[stem]}.weight" if stem in _OUTER and stem != name else None


def to_gguf_name(name: str) -> str:
    """The inverse of `from_gguf_name`, for consolidated names of this network only."""
    if match := re.fullmatch(r"layers\.(\d+)\.(.+)\.weight", name, re.ASCII):
        return f"blk.{match[1]}.{_TO_INNER[match[2]]}.weight"
    return f"{_TO_OUTER[name.removesuffix('.weight')]}.weight"


class GgufSource(ClosesItself):
    """A TensorSource over one GGUF file. F32, F16 and BF16 tensors are mapped from disk; quantised ones are decoded into
    float32 by `get`, one at a time, and `dtype` says float32 for them; `packed` repacks Q4_0 and Q8_0 as they are.

    With `mapped=False` every tensor is read into memory of its own. Raises CheckpointError for a file that is damaged, a
    type that cannot be decoded, and a tensor that the network has no place for.
    """

    def __init__(self, path: Path, *, mapped: bool = True) -> None:
        self._path = path
        self._infos = _infos(path, read_header(path))
        self._pages: torch.Tensor | None = None
        try:
            self._file = path.open("rb", buffering=0)
            if mapped:
                # Private pages: nothing written through a tensor ever reaches the file.
                self._pages = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"{path} cannot be opened: {str(error).splitlines()[0]}") from None

    def names(self) -> list[str]:
        return in_model_order(self._infos)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._info(name).shape

    def dtype(self, name: str) -> torch.dtype:
        return _STORED.get(self._info(name).type, torch.float32)

    def get(self, name: str) -> torch.Tensor:
        info = self._info(name)
        if info.type in _QUANTISED:
            # Mapped pages would stay resident beside the decoded copy: read aside instead.
            return _decode(self._read(info), info)
        raw = self._read(info) if self._pages is None else self._pages[info.offset : info.offset + info.n_bytes]
        return raw.view(_STORED[info.type]).view(info.shape)

    def packed_format(self, name: str) -> PackedFormat | None:
        info = self._info(name)
        return FORMATS[_PACKED[info.type]] if info.type in _PACKED and len(info.shape) == 2 else None

    def packed(self, name: str) -> PackedMatrix:
        info = self._info(name)
        return repack(_PACKED[info.type], self._read(info).view(info.shape[0], -1), info.shape[1])

    def close(self) -> None:
        self._pages = None
        self._file.close()

    def _info(self, name: str) -> TensorInfo:
        if name not in self._infos:
            raise CheckpointError(f"{self._path} lacks {name}; the file is incomplete, or this is another architecture")
        return self._infos[name]

    def _read(self, info: TensorInfo) -> torch.Tensor:
        raw = torch.empty(info.n_bytes, dtype=torch.uint8)
        view: npt.NDArray[np.uint8] = raw.numpy()
        done = 0
        try:
            self._file.seek(info.offset)
            # One read call returns at most 2 GiB on Linux.
            while done < info.n_bytes and (n := self._file.readinto(view[done:].data)):
                done += n
        except (OSError, ValueError) as error:  # ValueError: closed before this read
            raise CheckpointError(f"{self._path} cannot be read at {info.name}: {error}") from None
        if done < info.n_bytes:
            raise CheckpointError(f"{self._path} ends inside {info.name}; it changed while it was read")
        return raw


def _infos(path: Path, header: GgufHeader) -> dict[str, TensorInfo]:
    """The rows of the tensor table under consolidated names."""
    infos: dict[str, TensorInfo] = {}
    for info in header.tensors.values():
        name = from_gguf_name(info.name)
        if name is None:
            raise CheckpointError(f"{path} holds {info.name!r:.80}, which a Mistral 7B does not have")
        if info.type not in _STORED and info.type not in _QUANTISED:
            known = ", ".join(kind.name for kind in (*_STORED, *_QUANTISED))
            raise CheckpointError(f"{path}: {info.name} is of type {info.type.name}, which cannot be decoded; these can: {known}")
        infos[name] = info
    return infos


def _decode(raw: torch.Tensor, info: TensorInfo) -> torch.Tensor:
    """float32 of `info.shape`, a few rows at a time on torch's number of threads.

    The library holds a second copy of whatever it decodes, and numpy works on one core but lets others run.
    """
    decoded = torch.empty(info.shape, dtype=torch.float32)
    target = decoded.view(-1, info.shape[-1])
    rows = raw.view(len(target), -1).numpy()

    def decode_from(start: int) -> None:
        part = slice(start, start + _ROWS_AT_A_TIME)
        # A damaged block scale may be inf or nan; the finiteness scan of `verify` names the tensor, a warning would not.
        with np.errstate(all="ignore"):
            target[part] = torch.from_numpy(dequantize(rows[part], info.type))

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(decode_from, range(0, len(rows), _ROWS_AT_A_TIME)))
    return decoded
