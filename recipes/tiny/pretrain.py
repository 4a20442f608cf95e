"""Train the first version of `tiny` from the corpus: one plain script, one process, resumable.

    python recipes/tiny/pretrain.py --data DATA/corpus --tokenizer src/mistral7b/models/tiny/tokenizer.model.v3 \\
        --run runs/tiny --tokens 9000000

The network is the package's own (`mistral7b.model.transformer`); documents are packed end to end and never see each
other. A killed run started again goes on from its last checkpoint. At the end RUN/model holds the weights in bf16.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from corpus import EPOCHS, documents, hashes
from safetensors.torch import save_file
from torch import Tensor, nn

from mistral7b.checkpoint.hf import heads_permuted, hf_name
from mistral7b.checkpoint.layouts import to_half_split
from mistral7b.config import ModelConfig
from mistral7b.kernels.torch_room import TorchKernels
from mistral7b.model.batch import TokenBatch
from mistral7b.model.transformer import Transformer
from mistral7b.tokens.tokenizer import Tokenizer

CONFIG = ModelConfig(
    dim=256, n_layers=8, head_dim=32, hidden_dim=896, n_heads=8, n_kv_heads=2, norm_eps=1e-5,
    vocab_size=8192, rope_theta=10_000.0, sliding_window=512,
)  # fmt: skip
CONTEXT = 2048
BATCH_TOKENS = 4096
LEARNING_RATE = 6e-3
HEAD_LEARNING_RATE = 3e-3
WARMUP_STEPS = 60
VALIDATION_TOKENS = 12 * BATCH_TOKENS
VALIDATE_EVERY = 400
SAVE_EVERY = 100


def encoded(data: Path, tokenizer: Tokenizer, *, want_held_out: bool) -> dict[str, list[np.ndarray]]:
    """Documents of each source as ids with bos and eos, cut into pieces of at most CONTEXT tokens.

    A source of which less than one pass is wanted gives that share of its documents, evenly spaced.
    """
    pieces: dict[str, list[np.ndarray]] = {}
    for source, epochs in EPOCHS.items():
        pieces[source] = []
        every = 1 if want_held_out else max(1, int(1 / epochs))
        for text in islice(documents(data, source, want_held_out=want_held_out), 0, None, every):
            ids = np.array([*tokenizer.encode(text, bos=True), tokenizer.eos_id], dtype=np.uint16)
            pieces[source] += [ids[i : i + CONTEXT] for i in range(0, len(ids), CONTEXT)]
    return pieces


def mixed(pieces: dict[str, list[np.ndarray]], tokens: int, seed: int) -> list[np.ndarray]:
    """About `tokens` tokens of pieces in a random order, the sources in the proportions of EPOCHS."""
    random = np.random.default_rng(seed)
    share = {source: max(1.0, EPOCHS[source]) * sum(map(len, pieces[source])) for source in EPOCHS}
    drawn: list[np.ndarray] = []
    for source in EPOCHS:
        want, have = share[source] * tokens / sum(share.values()), 0
        while have < want:
            for index in random.permutation(len(pieces[source])):
                drawn.append(pieces[source][index])
                have += len(drawn[-1])
                if have >= want:
                    break
    return [drawn[index] for index in random.permutation(len(drawn))]


def batches(pieces: list[np.ndarray]) -> Iterator[TokenBatch]:
    """Batches of exactly BATCH_TOKENS; a piece that crosses an edge goes on in the next batch at position 0."""
    ids, borders = np.concatenate(pieces).astype(np.int64), np.cumsum([0, *map(len, pieces)])
    for start in range(0, len(ids) - BATCH_TOKENS + 1, BATCH_TOKENS):
        inner = borders[(borders > start) & (borders < start + BATCH_TOKENS)] - start
        edges = torch.tensor([0, *inner.tolist(), BATCH_TOKENS])
        row = torch.arange(BATCH_TOKENS)
        positions = row - torch.repeat_interleave(edges[:-1], edges.diff())
        yield TokenBatch(torch.from_numpy(ids[start : start + BATCH_TOKENS]), positions, edges, None, row)


def next_tokens(batch: TokenBatch) -> Tensor:
    """Targets `[T]`: the following id of the same document, -100 at a document's last row."""
    targets = batch.ids.roll(-1)
    targets[batch.borders[1:] - 1] = -100
    return targets


class ChunkedCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of states `[T, dim]` under a head `[vocab, dim]`, never holding all logits.

    The gradient of a chunk is made while its logits are at hand.
    """

    CHUNK = 512

    @staticmethod
    def forward(ctx: Any, states: Tensor, head: Tensor, targets: Tensor) -> Tensor:
        narrow = head.bfloat16()
        total, d_states, d_head = states.new_zeros(()), torch.empty_like(states), torch.zeros_like(head)
        for rows, wanted, d_rows in zip(*(t.split(ChunkedCrossEntropy.CHUNK) for t in (states, targets, d_states)), strict=True):
            low = rows.bfloat16()
            log_probs = F.linear(low, narrow).float().log_softmax(-1)
            keep = wanted >= 0
            picked = wanted.clamp(min=0)[:, None]
            total -= (log_probs.gather(1, picked)[:, 0] * keep).sum()
            slope = log_probs.exp_().scatter_add_(1, picked, log_probs.new_full(picked.shape, -1.0))
            slope = slope.mul_(keep[:, None]).bfloat16()
            d_rows.copy_(slope @ narrow)
            d_head += slope.T @ low
        ctx.save_for_backward(d_states, d_head)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        d_states, d_head = ctx.saved_tensors
        return d_states * grad, d_head * grad, None


def initialise(model: Transformer, seed: int) -> None:
    """Normal weights of variance 1 / fan-in; the two projections into the residual stream begin at zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if name.endswith(("wo.weight", "w2.weight")):
            nn.init.zeros_(weight)
        elif name in ("tok_embeddings.weight", "output.weight"):
            nn.init.normal_(weight, std=0.02, generator=generator)
        elif weight.dim() == 2:
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5, generator=generator)


def optimizers(model: Transformer) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings, head and norms."""
    inner = [w for name, w in model.named_parameters() if w.dim() == 2 and name.startswith("layers.")]
    groups: list[dict[str, Any]] = [
        {"params": [model.tok_embeddings.weight], "lr": LEARNING_RATE},
        {"params": [model.output.weight], "lr": HEAD_LEARNING_RATE},
        {"params": [w for w in model.parameters() if w.dim() == 1], "lr": LEARNING_RATE / 2},
    ]
    muon = torch.optim.Muon(inner, lr=LEARNING_RATE, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0, fused=True)
    for optimizer in (muon, adamw):
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return [muon, adamw]


def rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: a short ramp, a plateau, a linear fall over the last six tenths."""
    return min(1.0, (step + 1) / WARMUP_STEPS, max(0.0, (steps - step) / (0.6 * steps)))


@torch.no_grad()
def bits_per_byte(model: Transformer, pieces: dict[str, list[np.ndarray]], tokenizer: Tokenizer, tokens: int) -> dict[str, float]:
    """Held-out bits per byte of each source, over at most `tokens` tokens in all."""
    found = {}
    for source, documents_of in pieces.items():
        chosen, have = [], 0
        for piece in documents_of:
            if have >= tokens // len(pieces):
                break
            chosen.append(piece)
            have += len(piece)
        loss, size = 0.0, 0
        for batch in batches(chosen):
            targets = next_tokens(batch)
            with torch.autocast("cpu", torch.bfloat16):
                states = model.hidden(batch)
            loss += float(ChunkedCrossEntropy.apply(states, model.output.weight, targets))
            size += sum(len(tokenizer.piece_bytes(i)) for i in targets[targets >= 0].tolist())
        found[source] = loss / math.log(2) / max(size, 1)
    return found


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint aside, then rename: a kill leaves the older one whole."""
    aside = path.with_suffix(".partial")
    with aside.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)


def export(model: Transformer, folder: Path, facts: dict[str, Any]) -> None:
    """The finished model as an HF folder in bf16, with the facts of its training."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, weight in model.state_dict().items():
        heads = heads_permuted(name, CONFIG)
        tensors[hf_name(name)] = (weight if heads is None else to_half_split(weight, heads)).bfloat16().contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = CONFIG.to_hf(max_position_embeddings=CONTEXT, dtype="bfloat16")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "mistral7b.json").write_text(json.dumps({"trained_context": CONTEXT, "training": facts}, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=9_000_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.load(args.tokenizer)
    training = mixed(encoded(args.data, tokenizer, want_held_out=False), args.tokens, args.seed)
    held_out = encoded(args.data, tokenizer, want_held_out=True)
    steps = sum(map(len, training)) // BATCH_TOKENS
    model = Transformer(CONFIG, TorchKernels(row_tile=None))
    initialise(model, args.seed)
    optims = optimizers(model)
    first, spent = 0, 0.0
    checkpoint = args.run / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optims, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        first, spent = state["step"], state["seconds"]
    print(f"{CONFIG.describe()}\n{steps} steps of {BATCH_TOKENS} tokens, from step {first}", flush=True)
    started, mean = time.monotonic() - spent, None
    for step, batch in enumerate(batches(training)):
        if step < first:
            continue
        for optimizer in optims:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * rate(step, steps)
        targets = next_tokens(batch)
        with torch.autocast("cpu", torch.bfloat16):
            states = model.hidden(batch)
        loss = ChunkedCrossEntropy.apply(states, model.output.weight, targets) / (targets >= 0).sum()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optims:
            optimizer.step()
            optimizer.zero_grad()
        mean = loss.item() if mean is None else 0.95 * mean + 0.05 * loss.item()
        seconds, done = time.monotonic() - started, step + 1
        line = {"step": done, "tokens": done * BATCH_TOKENS, "loss": round(loss.item(), 4), "norm": round(float(norm), 3)}
        if done % VALIDATE_EVERY == 0 or done == steps:
            line["held_out_bits_per_byte"] = bits_per_byte(model, held_out, tokenizer, VALIDATION_TOKENS)
        with (args.run / "log.jsonl").open("a") as log:
            log.write(json.dumps(line | {"seconds": round(seconds, 1)}) + "\n")
        if done % 20 == 0:
            print(f"{done}/{steps} loss {mean:.3f} {(done - first) * BATCH_TOKENS / (seconds - spent):.0f} tok/s", flush=True)
        if done % SAVE_EVERY == 0 or done == steps:
            state = {
                "model": model.state_dict(),
                "optimizers": [o.state_dict() for o in optims],
                "step": done,
                "seconds": seconds,
            }
            save(checkpoint, state)
    facts = {
        "tokens": steps * BATCH_TOKENS,
        "steps": steps,
        "seconds": round(time.monotonic() - started),
        "held_out_bits_per_byte": bits_per_byte(model, held_out, tokenizer, 20 * VALIDATION_TOKENS),
        "data_sha256": hashes(args.data),
        "epochs": EPOCHS,
        "seed": args.seed,
    }
    export(model, args.run / "model", facts)
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
