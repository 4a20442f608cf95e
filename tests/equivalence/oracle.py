"""The network once more, as plainly as it can be written: one sequence, one dense T x T mask, float64, no cache.

Written from the paper (arXiv 2310.06825, section 2) and the tensor names alone; it shares no line with the network under test.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from mistral7b.config import ModelConfig


def layer_outputs(weights: Mapping[str, Tensor], config: ModelConfig, ids: list[int]) -> list[Tensor]:
    """The residual stream `[T, dim]`: first the embeddings, then what each layer leaves; float64."""
    wide = {name: tensor.detach().double() for name, tensor in weights.items()}
    x = wide["tok_embeddings.weight"][ids]
    outputs = [x]
    for index in range(config.n_layers):
        layer = {name.removeprefix(f"layers.{index}."): tensor for name, tensor in wide.items()}
        x = x + _attention(_norm(x, layer["attention_norm.weight"], config), layer, config)
        gate, up = (_norm(x, layer["ffn_norm.weight"], config) @ layer[f"feed_forward.{w}.weight"].T for w in ("w1", "w3"))
        x = x + (gate * torch.sigmoid(gate) * up) @ layer["feed_forward.w2.weight"].T
        outputs.append(x)
    return outputs


def logits(weights: Mapping[str, Tensor], config: ModelConfig, ids: list[int]) -> Tensor:
    """Logits of every position, float64 `[T, vocab]`."""
    last = layer_outputs(weights, config, ids)[-1]
    return _norm(last, weights["norm.weight"].detach().double(), config) @ weights["output.weight"].detach().double().T


def mask(tokens: int, window: int | None) -> Tensor:
    """`[T, T]`, true where row i sees column j: the last `window` tokens up to and including itself."""
    rows = [[j <= i and (window is None or j > i - window) for j in range(tokens)] for i in range(tokens)]
    return torch.tensor(rows)


def attention(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """Attention of q `[T, H, D]` over k and v `[T, G, D]` under a `[T, T]` mask; query head h reads KV head h // (H / G)."""
    out = []
    for head in range(q.shape[1]):
        kv = head // (q.shape[1] // k.shape[1])
        scores = q[:, head] @ k[:, kv].T / math.sqrt(q.shape[2])
        out.append(scores.masked_fill(~seen, -math.inf).softmax(-1) @ v[:, kv])
    return torch.stack(out, 1)


def rotate(x: Tensor, positions: Tensor, theta: float) -> Tensor:
    """x `[T, heads, D]` with channels 2i and 2i + 1 turned by position times theta^(-2i / D), an angle rounded to fp32."""
    steps = 1.0 / theta ** (torch.arange(0, x.shape[-1], 2).float() / x.shape[-1])
    angles = (positions.float()[:, None] * steps).double()
    turned = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.polar(torch.ones_like(angles), angles)[:, None]
    return torch.view_as_real(turned).flatten(-2)


def _attention(x: Tensor, layer: Mapping[str, Tensor], config: ModelConfig) -> Tensor:
    q, k, v = ((x @ layer[f"attention.{w}.weight"].T).view(len(x), -1, config.head_dim) for w in ("wq", "wk", "wv"))
    q, k = (rotate(heads, torch.arange(len(x)), config.rope_theta) for heads in (q, k))
    return attention(q, k, v, mask(len(x), config.sliding_window)).flatten(1) @ layer["attention.wo.weight"].T


def _norm(x: Tensor, weight: Tensor, config: ModelConfig) -> Tensor:
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + config.norm_eps) * weight
