"""Mistral 7B (arXiv 2310.06825): one network for training and serving. Names are those of the published weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mistral7b.config import ModelConfig
from mistral7b.kernels.interface import Kernels
from mistral7b.kernels.torch_room import TorchKernels
from mistral7b.model.batch import TokenBatch
from mistral7b.model.pages import PagePool
from mistral7b.model.rope import rotations


@dataclass(frozen=True)
class Pass:
    """What every layer of one forward shares: the rotations, where keys are written, how queries find them, and the adapter of
    each row (`TokenBatch.adapters`), `adapted` being whether any row has one."""

    cos: Tensor
    sin: Tensor
    pool: PagePool | None
    slots: Tensor | None
    queries: object  # what the kernels made of the batch
    adapters: Tensor | None
    adapted: bool

    @classmethod
    def plan(cls, batch: TokenBatch, pool: PagePool | None, config: ModelConfig, kernels: Kernels, device: torch.device) -> Pass:
        """Plan a forward of `batch` (on the CPU) for a model on `device`."""
        window, slots, queries = config.sliding_window, None, None
        if pool is None:
            queries = kernels.plan_packed(batch.positions.cpu(), window, device)
        else:
            assert batch.tables is not None, "a cache needs page tables"
            slots = pool.slots(batch).to(device)
            queries = kernels.plan(batch.positions, batch.borders, batch.tables, pool.page_tokens, window, device)
        positions = batch.positions.to(device)
        cos, sin = rotations(positions, config.head_dim, config.rope_theta)
        adapters = batch.adapter_rows()
        adapted = batch.adapters is not None and bool((batch.adapters >= 0).any())
        return cls(cos, sin, pool, slots, queries, None if adapters is None else adapters.to(device), adapted)


class Linear(nn.Module):
    """A bias-free projection; `weight` is `[out, in]`. The plan is for what takes its place (see `lora`)."""

    def __init__(self, inputs: int, outputs: int, kernels: Kernels) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.kernels = kernels

    @property
    def shape(self) -> tuple[int, int]:
        return self.weight.shape[0], self.weight.shape[1]

    def forward(self, x: Tensor, plan: Pass | None = None) -> Tensor:  # noqa: ARG002
        return self.kernels.linear(x, self.weight)


class RMSNorm(nn.Module):
    """Root mean square normalisation (arXiv 1910.07467)."""

    def __init__(self, dim: int, eps: float, kernels: Kernels) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps
        self.kernels = kernels

    def forward(self, x: Tensor) -> Tensor:
        return self.kernels.rms_norm(x, self.weight, self.eps)


class Attention(nn.Module):
    """Grouped-query attention over a sliding window (paper, section 2)."""

    def __init__(self, config: ModelConfig, kernels: Kernels) -> None:
        super().__init__()
        queries, keys = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
        self.head_dim = config.head_dim
        self.kernels = kernels
        self.wq = Linear(config.dim, queries, kernels)
        self.wk = Linear(config.dim, keys, kernels)
        self.wv = Linear(config.dim, keys, kernels)
        self.wo = Linear(queries, config.dim, kernels)

    def forward(self, x: Tensor, plan: Pass, layer: int) -> Tensor:
        q, k, v = (w(x, plan).unflatten(-1, (-1, self.head_dim)) for w in (self.wq, self.wk, self.wv))
        q, k = (self.kernels.rope(heads, plan.cos, plan.sin) for heads in (q, k))
        if plan.pool is None:
            out = self.kernels.attention(q, k, v, plan.queries)
        else:
            assert plan.slots is not None
            keys, values = plan.pool.layer(layer)
            # Write, then read through the table: a chunk sees its own keys as they are rounded in the cache.
            self.kernels.write(k, keys, plan.slots)
            self.kernels.write(v, values, plan.slots)
            out = self.kernels.paged_attention(q, keys, values, plan.queries)
        return self.wo(out.flatten(-2), plan)  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """SwiGLU (arXiv 2002.05202): w2(silu(w1 x) * w3 x)."""

    def __init__(self, config: ModelConfig, kernels: Kernels) -> None:
        super().__init__()
        self.kernels = kernels
        self.w1 = Linear(config.dim, config.hidden_dim, kernels)
        self.w2 = Linear(config.hidden_dim, config.dim, kernels)
        self.w3 = Linear(config.dim, config.hidden_dim, kernels)

    def forward(self, x: Tensor, plan: Pass | None = None) -> Tensor:
        return self.w2(self.kernels.swiglu(self.w1(x, plan), self.w3(x, plan)), plan)  # type: ignore[no-any-return]


class Block(nn.Module):
    """One layer: attention and feed-forward, each behind a norm and beside a residual."""

    def __init__(self, config: ModelConfig, kernels: Kernels) -> None:
        super().__init__()
        self.attention = Attention(config, kernels)
        self.feed_forward = FeedForward(config, kernels)
        self.attention_norm = RMSNorm(config.dim, config.norm_eps, kernels)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps, kernels)

    def forward(self, x: Tensor, plan: Pass, layer: int) -> Tensor:
        x = x + self.attention(self.attention_norm(x), plan, layer)
        return x + self.feed_forward(self.ffn_norm(x), plan)  # type: ignore[no-any-return]


class Layers(nn.ModuleList):
    """The blocks, one after another."""

    def forward(self, x: Tensor, plan: Pass) -> Tensor:
        for index, block in enumerate(self):
            x = block(x, plan, index)
        return x


class Transformer(nn.Module):
    """TokenBatch in, logits out. Parameters are named as in consolidated.safetensors (FACTS 3.4)."""

    def __init__(self, config: ModelConfig, kernels: Kernels | None = None) -> None:
        super().__init__()
        kernels = kernels or TorchKernels()
        self.config = config
        self.kernels = kernels
        # A weight of its own, since torch would fill one by a path that on the meta device imports its compiler, for a second.
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.dim, _weight=torch.empty(config.vocab_size, config.dim))
        self.layers = Layers(Block(config, kernels) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps, kernels)
        self.output = Linear(config.dim, config.vocab_size, kernels)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.tok_embeddings.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights and of the residual stream."""
        return self.tok_embeddings.weight.dtype

    def hidden(self, batch: TokenBatch, pool: PagePool | None = None) -> Tensor:
        """Final normed states `[T, dim]` of all rows. Without a pool every sequence of the batch stands alone."""
        plan = Pass.plan(batch, pool, self.config, self.kernels, self.device)
        x = self.tok_embeddings(batch.ids.to(self.device))
        return self.norm(self.layers(x, plan))  # type: ignore[no-any-return]

    def logits(self, states: Tensor) -> Tensor:
        """fp32 logits `[N, vocab]` of final normed `states` `[N, dim]`."""
        return self.output(states).float()  # type: ignore[no-any-return]

    def forward(self, batch: TokenBatch, pool: PagePool | None = None) -> Tensor:
        """fp32 logits `[N, vocab]` of the rows in `batch.logit_rows`.

        With a pool, keys and values are written to the pages of the batch's tables and read back through them; without,
        each sequence attends within itself and must begin at position 0.
        """
        rows = batch.logit_rows.to(self.device)
        return self.logits(self.hidden(batch, pool)[rows])
