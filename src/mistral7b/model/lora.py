"""LoRA (arXiv 2106.09685): y = W x + s B A dropout(x), around the projections of a finished network, from outside.

A network holds any number of adapters, numbered from 0. Which rows go through which is the batch's to say
(`TokenBatch.adapters`), so that several serve in one batch, each row with the bits it has alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate, chain
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mistral7b.kernels.interface import LowRank
from mistral7b.model.fused import FusedLayers
from mistral7b.model.seeds import generator
from mistral7b.model.transformer import Linear, Pass, Transformer
from mistral7b.quant.linear import QuantLinear

Projection = Linear | QuantLinear  # or what has their `shape`, `kernels` and forward

ATTENTION, FEED_FORWARD = ("wq", "wk", "wv", "wo"), ("w1", "w2", "w3")
TARGETS = ATTENTION + FEED_FORWARD


@dataclass(frozen=True)
class LoraSpec:
    """An adapter of one `rank` for all its `targets` in every layer; `dropout` is the share of inputs left out in training."""

    rank: int
    alpha: float
    dropout: float = 0.0
    targets: tuple[str, ...] = TARGETS

    def __post_init__(self) -> None:
        assert self.rank > 0, "a rank is at least 1"
        assert 0 <= self.dropout < 1, "dropout is a share"
        assert self.targets, "an adapter needs a target"
        assert set(self.targets) <= set(TARGETS), f"targets are among {TARGETS}"

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    def places(self, n_layers: int) -> list[str]:
        """The modules it changes ("layers.3.attention.wq")."""
        parts = [("attention" if target in ATTENTION else "feed_forward", target) for target in TARGETS if target in self.targets]
        return [f"layers.{layer}.{part}.{target}" for layer in range(n_layers) for part, target in parts]


class LoraLinear(nn.Module):
    """`base` and its adapters by number: `lora_A` `[rank, in]`, `lora_B` `[out, rank]`. An adapter that it does not have leaves
    rows as the base gives them."""

    def __init__(self, base: Projection) -> None:
        super().__init__()
        self.base, self.kernels = base, base.kernels
        self.lora_A, self.lora_B = nn.ParameterDict(), nn.ParameterDict()
        self.scales: dict[int, float] = {}
        self.dropouts: dict[int, float] = {}
        self.count = 0  # adapters of the whole network
        self._stacked: LowRank | None = None

    def add(self, number: int, a: Tensor, b: Tensor, scale: float, dropout: float, *, trained: bool) -> None:
        """Adapter `number`: `a` `[rank, in]` and `b` `[out, rank]`, on the base's device from here on."""
        assert (b.shape[0], a.shape[1]) == self.base.shape, "an adapter is made for one shape"
        assert a.shape[0] == b.shape[1], "A and B have one rank"
        device = next(chain(self.base.parameters(), self.base.buffers())).device
        for held, weight in ((self.lora_A, a), (self.lora_B, b)):
            held[str(number)] = nn.Parameter(weight.to(device), requires_grad=trained)
        self.scales[number], self.dropouts[number] = scale, dropout

    def forward(self, x: Tensor, plan: Pass | None = None) -> Tensor:
        """x `[T, in]` to `[T, out]`, each row through the adapter that the plan has for it; without a plan, or one that says
        nothing of adapters, all through adapter 0."""
        out: Tensor = self.base(x, plan)
        if plan is None or plan.adapters is None:
            return out + self._low_rank(0, x).to(out.dtype) if 0 in self.scales else out
        if not plan.adapted:
            return out
        return self.kernels.low_rank(out, x, self.stacked(), plan.adapters)

    def _low_rank(self, number: int, x: Tensor) -> Tensor:
        """s B A x in the adapter's dtype."""
        a, b = self.lora_A[str(number)], self.lora_B[str(number)]
        dropped = F.dropout(x.to(a.dtype), self.dropouts[number], self.training)
        return self.kernels.linear(self.kernels.linear(dropped, a), b) * self.scales[number]

    def settle(self, count: int) -> None:
        """To be told how many adapters the network has, whenever that changes."""
        self.count, self._stacked = count, None

    @property
    def trained(self) -> bool:
        """Whether an adapter of it is to be trained."""
        return any(half.requires_grad for half in self.lora_A.values())

    def stacked(self) -> LowRank:
        """All its adapters as one: made once of those that are not trained, which become views of it; else at each call."""
        if self._stacked is not None:
            return self._stacked
        numbers = sorted(self.scales)
        halves_a, halves_b = ([held[str(number)] for number in numbers] for held in (self.lora_A, self.lora_B))
        dtype = reduce(torch.promote_types, (half.dtype for half in (*halves_a, *halves_b)))
        a, b = torch.cat([half.to(dtype) for half in halves_a]), torch.cat([half.to(dtype).t() for half in halves_b])
        scales = torch.zeros(self.count + 1, len(a), device=a.device)
        ends = list(accumulate(len(half) for half in halves_a))
        spans = [slice(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]
        for number, span in zip(numbers, spans, strict=True):
            scales[number, span] = self.scales[number]
        found = LowRank(a, b, scales)
        if not self.trained:
            self._stacked = found
            for half_a, half_b, span in zip(halves_a, halves_b, spans, strict=True):
                if half_a.dtype == half_b.dtype == dtype:
                    half_a.data, half_b.data = a[span], b[span].t()
        return found


def add_adapter(model: Transformer, spec: LoraSpec, seed: int) -> int:
    """A new adapter to be trained, in fp32, and its number; every other weight of the network is frozen."""
    model.requires_grad_(False)
    number = n_adapters(model)
    for place in spec.places(model.config.n_layers):
        module = _wrapped(model, place)
        outputs, inputs = module.base.shape
        a = new_adapter_weight(f"{place}.lora_A.weight", (spec.rank, inputs), seed)
        b = new_adapter_weight(f"{place}.lora_B.weight", (outputs, spec.rank), seed)
        module.add(number, a, b, spec.scale, spec.dropout, trained=True)
    _settle(model)
    return number


def new_adapter_weight(name: str, shape: tuple[int, int], seed: int) -> Tensor:
    """A function of (name, shape, seed), fp32: A uniform within 1 / sqrt(in), as `nn.Linear` begins; B zero, so that a new
    adapter changes nothing."""
    weight = torch.zeros(shape)
    if name.endswith("lora_A.weight"):
        nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator(seed, name))
    return weight


def put_adapter(model: Transformer, weights: Mapping[str, Tensor], spec: LoraSpec | Mapping[str, float]) -> int:
    """An adapter with these `weights`, named as by `adapter_weights`, not to be trained; returns its number.

    `spec` gives the scale: one for all, or that of each module ("layers.3.attention.wq").
    """
    number = n_adapters(model)
    for name in weights:
        place, dot, _ = name.partition(".lora_A.weight")
        if dot:
            scale = spec.scale if isinstance(spec, LoraSpec) else spec[place]
            _wrapped(model, place).add(number, weights[name], weights[f"{place}.lora_B.weight"], scale, 0.0, trained=False)
    _settle(model)
    return number


def adapter_weights(model: Transformer, number: int) -> dict[str, Tensor]:
    """The weights of adapter `number`, "layers.3.attention.wq.lora_A.weight" and so on, in the rows of consolidated files."""
    found: dict[str, Tensor] = {}
    for place, module in adapted(model).items():
        if number in module.scales:
            found[f"{place}.lora_A.weight"] = module.lora_A[str(number)].detach()
            found[f"{place}.lora_B.weight"] = module.lora_B[str(number)].detach()
    return found


def adapter_scales(model: Transformer, number: int) -> dict[str, float]:
    """What B A of adapter `number` is multiplied by, by module: "layers.3.attention.wq"."""
    return {place: module.scales[number] for place, module in adapted(model).items() if number in module.scales}


def n_adapters(model: Transformer) -> int:
    """How many adapters the network has; the next one's number."""
    return max((number + 1 for module in adapted(model).values() for number in module.scales), default=0)


def _settle(model: Transformer) -> None:
    count = n_adapters(model)
    for module in adapted(model).values():
        module.settle(count)
    if isinstance(model.layers, FusedLayers):
        model.layers.unbind()


def adapted(model: Transformer) -> dict[str, LoraLinear]:
    """The projections that have adapters, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLinear)}


def _wrapped(model: Transformer, place: str) -> LoraLinear:
    """The LoraLinear at `place`, put around what stands there if it is none yet."""
    module = model.get_submodule(place)
    if not isinstance(module, LoraLinear):
        module = LoraLinear(cast(Projection, module)).train(module.training)
        model.set_submodule(place, module)
    return module
