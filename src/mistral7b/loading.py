"""Loading: a model's name to a network that computes, with the checks that come before a weight is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mistral7b.checkpoint import fit, pairing
from mistral7b.checkpoint.adapter import Adapter
from mistral7b.checkpoint.folder import Checkpoint, open_checkpoint
from mistral7b.checkpoint.load import Progress, load_packed, load_weights, stored_dtype, weights_bytes
from mistral7b.checkpoint.memory import available_bytes
from mistral7b.engine.draft_model import DEFAULT_CATCH_UP, DraftModel, check_pair
from mistral7b.engine.drafts import Drafts, PricedDrafter
from mistral7b.engine.lookup import Lookup
from mistral7b.errors import MemoryFitError, RequestError
from mistral7b.kernels.choice import KernelsName, choose
from mistral7b.kernels.interface import Kernels
from mistral7b.model.fused import fuse
from mistral7b.model.lora import put_adapter
from mistral7b.model.pages import DEFAULT_PAGE_TOKENS, PagePool, cache_bytes, ring_slots
from mistral7b.model.transformer import Transformer
from mistral7b.quant.linear import insert
from mistral7b.store.names import resolve
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.variants import TokenizerVersion

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
_KV_DTYPES = {"bfloat16": torch.bfloat16, "int8": torch.int8}
# A context nobody states: what the published models are configured for.
_DEFAULT_POSITIONS = 32_768
# Share of the memory left after the weights that the KV cache may take.
_CACHE_SHARE = 0.8


@dataclass(frozen=True)
class Loaded:
    """A model ready to compute, and what was read on the way."""

    model: Transformer
    tokenizer: Tokenizer | None
    checkpoint: Checkpoint


def load(
    model: str | Path = "tiny",
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "auto",
    kernels: KernelsName | Kernels = "auto",
    variant: str | None = None,
    tokenizer_version: TokenizerVersion | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Loaded:
    """Load a model by whatever name `store` resolves: "tiny", a folder, a .gguf file, a hub id, a variant.

    `dtype` "auto" keeps what the file holds (quantised matrices, on a CPU, stay so), any other decodes it; `device` "auto"
    takes the GPU if there is one. `kernels` are "native" (C++, on the CPU), "torch", or those another model has; "auto" is
    native where it serves. `variant` is the published model the caller believes it is. Parts that contradict each other
    raise MismatchError unless `force`; other errors are those of `store`, `checkpoint` and `tokens`. `progress` is called
    with (bytes loaded, bytes in all).
    """
    checkpoint, place = open_checkpoint(resolve(model), force=force), pick_device(device)
    return load_checkpoint(
        checkpoint, dtype=pick_dtype(dtype, checkpoint), device=place, kernels=kernels, packed=stays_packed(dtype, place),
        variant=variant, tokenizer_version=tokenizer_version, force=force, progress=progress,
    )  # fmt: skip


def load_checkpoint(
    checkpoint: Checkpoint,
    *,
    dtype: torch.dtype,
    device: torch.device,
    kernels: KernelsName | Kernels = "auto",
    packed: bool = False,
    variant: str | None = None,
    tokenizer_version: TokenizerVersion | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Loaded:
    """`load`, for a checkpoint that is open, in a type and on a device that are settled; `packed` leaves matrices so."""
    tokenizer = Tokenizer.load(checkpoint.tokenizer, tokenizer_version) if checkpoint.tokenizer else None
    vocabulary = tokenizer.vocab_size if tokenizer else None
    config, before = checkpoint.config, checkpoint.extended_from
    notes = pairing.check(config, tokenizer_vocab=vocabulary, variant=variant, extended_from=before, force=force)
    network = _network(checkpoint, dtype, device, choose(kernels, dtype, device), progress, packed=packed)
    return Loaded(network, tokenizer, replace(checkpoint, notes=checkpoint.notes + notes))


def _network(
    checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device, kernels: Kernels, progress: Progress | None, *, packed: bool
) -> Transformer:
    with torch.device("meta"):
        network = Transformer(checkpoint.config, kernels)
    if packed:
        weights = load_packed(checkpoint, dtype=dtype, device=device, progress=progress)
        network.load_state_dict(weights.plain | insert(network, weights.packed, kernels), assign=True)
    else:
        network.load_state_dict(load_weights(checkpoint, dtype=dtype, device=device, progress=progress), assign=True)
    network.eval().requires_grad_(False)
    fuse(network)
    return network


def put_adapters(model: Transformer, adapters: Mapping[str, Adapter]) -> dict[str, int]:
    """Puts each named adapter beside the weights; gives their numbers."""
    return {name: put_adapter(model, adapter.weights, adapter.scales) for name, adapter in adapters.items()}


def stays_packed(dtype: str | torch.dtype, device: torch.device) -> bool:
    """Whether a quantised model is computed from its packed matrices: where nobody asked for a type, and on the CPU, for
    which the layout is made."""
    return str(dtype) == "auto" and device.type == "cpu"


def pick_device(device: str | torch.device) -> torch.device:
    """`device`, "auto" being the GPU if there is one; raises RequestError for one that cannot be used here."""
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, ImportError, TypeError) as error:
        raise RequestError(f"device {str(device)!r} cannot be used here: {str(error).splitlines()[0]}") from None
    if found.type == "meta":
        raise RequestError("device 'meta' holds no numbers; choose cpu or a GPU")
    return found


def pick_dtype(dtype: str | torch.dtype, checkpoint: Checkpoint) -> torch.dtype:
    """`dtype`, "auto" being what the checkpoint holds; raises RequestError for a name that is none."""
    name = str(dtype).removeprefix("torch.")
    if name == "auto":
        return stored_dtype(checkpoint)
    if name not in _DTYPES:
        raise RequestError(f"dtype must be auto, {', '.join(_DTYPES)}, not {name!r}")
    return _DTYPES[name]


def pick_kv_dtype(kv_dtype: str, dtype: torch.dtype) -> torch.dtype:
    """The type of the cache of a model of `dtype`, "auto" being the same; raises RequestError for a name that is none."""
    if kv_dtype == "auto":
        return dtype
    if kv_dtype not in _KV_DTYPES:
        raise RequestError(f"kv_dtype must be auto, {', '.join(_KV_DTYPES)}, not {kv_dtype!r}")
    return _KV_DTYPES[kv_dtype]


def context_length(checkpoint: Checkpoint, asked: int | None) -> int:
    """max_model_len: what was `asked`, or what the model is configured for. Raises RequestError past what it can use."""
    configured = checkpoint.max_positions or _DEFAULT_POSITIONS
    window = checkpoint.config.sliding_window
    most = configured if window is None else max(configured, checkpoint.config.n_layers * window)
    if asked is not None and asked > most:
        raise RequestError(f"max_model_len {asked:,} is more than this model can use; at most {most:,}")
    return asked or configured


def check_fit(
    checkpoint: Checkpoint,
    dtype: torch.dtype,
    device: torch.device,
    max_model_len: int,
    chunk: int,
    kv_dtype: torch.dtype,
    *,
    packed: bool = False,
) -> None:
    """Raises MemoryFitError, one line with what would fit, if the model and one sequence's cache do not."""
    problem = fit.advise(
        checkpoint.config, dtype_bytes=dtype.itemsize,
        cache_number_bytes=None if kv_dtype == dtype else kv_dtype.itemsize, max_model_len=max_model_len, n_sequences=1,
        page_tokens=DEFAULT_PAGE_TOKENS, chunk=chunk, device=device,
        weights_bytes=weights_bytes(checkpoint, dtype, packed=packed),
    )  # fmt: skip
    if problem:
        raise MemoryFitError(f"{problem}; --force loads it nevertheless")


def cache_room(checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device, *, packed: bool = False) -> int | None:
    """Bytes the KV cache may take: a share of what the weights will leave; None where the system does not say.

    To be asked before loading: weights that are pages of a file are not missing from what the system calls available.
    """
    there = available_bytes(device)
    return None if there is None else int(_CACHE_SHARE * (there - weights_bytes(checkpoint, dtype, packed=packed)))


def make_pool(
    model: Transformer, max_num_seqs: int, chunk: int, max_model_len: int, room: int | None, kv_dtype: torch.dtype
) -> PagePool:
    """Pages for every sequence at its longest, or as many as there is room for, but for one sequence at the least."""
    each = ring_slots(model.config.sliding_window, chunk, DEFAULT_PAGE_TOKENS, max_model_len)
    page = cache_bytes(model.config, DEFAULT_PAGE_TOKENS, kv_dtype.itemsize)
    pages = each * max_num_seqs if room is None else min(each * max_num_seqs, room // page)
    return PagePool(model.config, max(each, pages), dtype=kv_dtype, device=model.device)


def make_drafts(target: Loaded, model: str | Path | None, max_num_seqs: int, most: int, max_model_len: int) -> Drafts:
    """What guesses ahead for `target`, up to `most` ids: what was written before, and what a smaller `model` would write.

    Raises MismatchError if that knows other ids.
    """
    drafters: list[PricedDrafter] = [Lookup()]
    if model is not None:
        place = target.model.device
        draft = load(model, device=place, kernels=target.model.kernels)
        check_pair(target.model.config, draft.model.config, target.tokenizer, draft.tokenizer)
        length = min(max_model_len, context_length(draft.checkpoint, None))
        room = cache_room(draft.checkpoint, draft.model.dtype, place, packed=stays_packed("auto", place))
        pool = make_pool(draft.model, max_num_seqs, DEFAULT_CATCH_UP, length, room, draft.model.dtype)
        drafters.append(DraftModel(draft.model, pool, max_model_len=length, num_draft_tokens=most))
    return Drafts(drafters)
