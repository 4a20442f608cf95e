"""`convert`: any checkpoint in; HF, consolidated or GGUF out; one tensor in memory at a time, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import torch

from mistral7b.checkpoint.aside import aside
from mistral7b.checkpoint.companions import Changed, positions_of, write_companions
from mistral7b.checkpoint.configs import HF, PARAMS, read_object
from mistral7b.checkpoint.folder import Checkpoint, open_checkpoint, open_source
from mistral7b.checkpoint.hf import heads_permuted, hf_name
from mistral7b.checkpoint.layouts import to_half_split
from mistral7b.checkpoint.source import TensorSource, expected_shapes
from mistral7b.checkpoint.write import Row, Wrote, write_json, write_safetensors, write_shards
from mistral7b.config import ModelConfig
from mistral7b.errors import CheckpointError

Target = Literal["hf", "consolidated", "gguf"]
Dtype = Literal["keep", "bf16", "f16", "f32"]
Progress = Callable[[int, int], None]  # (bytes written, bytes in all)

DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
HEADERS = 16 << 20  # bytes beside the tensors: headers, configs, a tokenizer twice over


def convert(
    source_path: Path,
    target: Path,
    *,
    to: Target,
    dtype: Dtype = "keep",
    force: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Writes the model at `source_path` (a folder, or a .gguf file) as `target`: a folder, or for "gguf" a .gguf file.

    With "keep" every tensor keeps its type, bit for bit; quantised GGUF tensors come out as float32, and GGUF norms always
    are. Tokenizer, model card and licence files go along into a folder. Returns the files written.

    Raises the errors of `open_checkpoint` and `open_source`; CheckpointError if `target` stands in the way (`force` replaces
    it), the disk is too small or any write fails (then nothing is left behind), or a weight does not fit into `dtype`.
    """
    check_request(source_path, target, to, dtype)
    checkpoint = open_checkpoint(source_path, force=force)
    with open_source(checkpoint, mapped=False) as source:
        return write_model(source, checkpoint, target, to=to, dtype=dtype, force=force, progress=progress)


def write_model(
    source: TensorSource,
    checkpoint: Checkpoint,
    target: Path,
    *,
    to: Target,
    dtype: Dtype,
    force: bool,
    progress: Progress | None,
    changed: Changed | None = None,
) -> list[Path]:
    """`convert`, with the tensors of `source` under the facts of `checkpoint` and what `changed`.

    Where `get` gives another type than `dtype` says, that is what "keep" rounds to.
    """
    rows = _rows(source, checkpoint.config, to, dtype)
    total = sum(row.n_bytes for row in rows)
    with aside(target, needs=total + HEADERS, folder=to != "gguf", force=force) as made:
        wrote = counter(total, progress)
        if to == "gguf":
            _write_gguf(made, checkpoint, rows, wrote)
        else:
            _write_folder(made, checkpoint, to, rows, wrote, changed)
    return [target] if to == "gguf" else sorted(target.iterdir())


def check_request(source_path: Path, target: Path, to: str, dtype: str) -> None:
    """Raises CheckpointError for a format or type that there is not, and for a target that would destroy its source."""
    if to not in get_args(Target):
        raise CheckpointError(f"there is no format {to!r}; choose one of {', '.join(get_args(Target))}")
    if dtype not in get_args(Dtype):
        raise CheckpointError(f"there is no type {dtype!r}; choose one of {', '.join(get_args(Dtype))}")
    if to == "gguf" and target.suffix != ".gguf":
        raise CheckpointError(f"{target} must end in .gguf: a GGUF model is one file")
    if target.resolve() in (source_path.resolve(), *source_path.resolve().parents):
        raise CheckpointError(f"{target} is or holds the model to convert; choose another target")


def _rows(source: TensorSource, config: ModelConfig, to: Target, dtype: Dtype) -> list[Row]:
    rows = []
    for name, shape in expected_shapes(config).items():
        wanted = DTYPES.get(dtype, source.dtype(name))
        if to == "gguf" and len(shape) == 1:
            wanted = torch.float32
        heads = heads_permuted(name, config) if to == "hf" else None
        rows.append(Row(_name(name, to), wanted, shape, partial(_fetch, source, name, wanted, heads)))
    return rows


def _name(name: str, to: Target) -> str:
    if to == "gguf":
        from mistral7b.checkpoint.gguf import to_gguf_name

        return to_gguf_name(name)
    return hf_name(name) if to == "hf" else name


def _fetch(source: TensorSource, name: str, dtype: torch.dtype, heads: int | None) -> torch.Tensor:
    """One tensor in the type and row order of the target; CheckpointError if a finite weight would become infinite."""
    stored = source.get(name)
    tensor = stored.to(dtype)
    if dtype != stored.dtype and (lost := int((tensor.isinf() & stored.isfinite()).sum())):
        kind = str(dtype).removeprefix("torch.")
        largest = stored[stored.isfinite()].abs().max().item()
        raise CheckpointError(f"{name} does not fit into {kind}: {lost:,} weights overflow, up to {largest:g}; keep a wider type")
    return tensor if heads is None else to_half_split(tensor, heads)


def _write_folder(made: Path, checkpoint: Checkpoint, to: Target, rows: list[Row], wrote: Wrote, changed: Changed | None) -> None:
    config = checkpoint.config
    if to == "hf":
        dtype = str(max(rows, key=lambda row: row.n_bytes).dtype).removeprefix("torch.")
        positions = positions_of(checkpoint)
        write_json(made / HF, config.to_hf(max_position_embeddings=positions, dtype=dtype, eos_ids=checkpoint.eos_ids))
        write_shards(made, rows, wrote)
    else:
        write_json(made / PARAMS, config.to_params())
        write_safetensors(made / "consolidated.safetensors", rows, wrote)
    write_companions(made, checkpoint, changed)


def _write_gguf(made: Path, checkpoint: Checkpoint, rows: list[Row], wrote: Wrote) -> None:
    from mistral7b.checkpoint.gguf_write import GgufMeta, write_gguf
    from mistral7b.checkpoint.spm import decode

    meta = GgufMeta(
        name=checkpoint.path.resolve().stem if checkpoint.format == "gguf" else checkpoint.path.resolve().name,
        config=checkpoint.config,
        max_positions=positions_of(checkpoint),
        trained_context=checkpoint.trained_context,
        eos_id=checkpoint.eos_ids[0],
        tokenizer=None if checkpoint.tokenizer is None else decode(checkpoint.tokenizer.read_bytes()),
        chat_template=_chat_template(checkpoint.path),
    )
    write_gguf(made, meta, rows, wrote)


def _chat_template(folder: Path) -> str | None:
    """The folder's Jinja template, for the programs that read one from a GGUF; ours renders its own."""
    if (path := folder / "chat_template.jinja").is_file():
        return path.read_text(encoding="utf-8")
    if (path := folder / "tokenizer_config.json").is_file():
        template = read_object(path).get("chat_template")
        return template if isinstance(template, str) else None
    return None


def counter(total: int, progress: Progress | None) -> Wrote:
    """A callback that adds up what was written and passes it on to `progress`."""
    done = 0

    def wrote(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        if progress is not None:
            progress(done, total)

    return wrote
