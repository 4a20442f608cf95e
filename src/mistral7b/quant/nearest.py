"""Round to nearest: scales searched for the least squared error, weighted by how much each input matters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mistral7b.quant.formats import FORMATS, GROUP_INPUTS, FormatName, PackedFormat
from mistral7b.quant.matrix import PackedMatrix, pack

# Steps tried, as shares of the one that just reaches a group's largest weight: the fewer the levels, the more clipping pays.
_SHARES = {
    4: (1.0, 1.04, 0.98, 0.95, 0.92, 0.89, 0.86, 0.82, 0.78, 0.73),
    5: (1.0, 1.03, 0.97, 0.94, 0.9, 0.86, 0.8),
    8: (1.0, 0.97, 0.93),
}
_LARGEST = 240  # integer scale of a row's widest group at share 1: room for larger shares below 255
_WEIGHTS_AT_ONCE = 1 << 20
_LEAST = 1e-37  # a smaller step has no finite inverse; what is so small is 0


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """The scales of some rows: `groups` uint8 `[N, K/32]` (None where the format has none), `channels` fp32 `[N]`."""

    groups: Tensor | None
    channels: Tensor

    def each(self) -> Tensor:
        """The distance of neighbouring levels, fp32 `[N, K/32]`, or `[N, 1]` without groups."""
        channels = self.channels[:, None]
        return channels if self.groups is None else self.groups.float() * channels


def nearest(weight: Tensor, format: FormatName, importance: Tensor | None = None) -> PackedMatrix:
    """`weight` `[N, K]`, finite, in any dtype, as int4, int5 or int8, each weight the nearest level of its scales.

    `importance` `[K]`, not negative: what an input's squared error counts (of a calibration, the mean square of the input).
    """
    form = FORMATS[format]
    rows = max(1, _WEIGHTS_AT_ONCE // weight.shape[1])
    q, steps = [], []
    for part in weight.split(rows):
        found = search(part.float(), form, importance)
        steps.append(found)
        q.append(rounded(part.float(), form, found.each()))
    groups = None if steps[0].groups is None else torch.cat([each.groups for each in steps if each.groups is not None])
    return pack(format, torch.cat(q), groups, torch.cat([each.channels for each in steps]))


def rounded(weight: Tensor, form: PackedFormat, each: Tensor) -> Tensor:
    """The nearest levels, int8 `[N, K]`, of `weight` under steps `each` (see Steps.each)."""
    grouped = _grouped(weight, each.shape[1])
    return _levels(grouped, form, each[..., None]).to(torch.int8).flatten(1)[:, : weight.shape[1]]


def search(weight: Tensor, form: PackedFormat, importance: Tensor | None = None) -> Steps:
    """Scales for `weight`, fp32 `[N, K]`: never a larger error than with scales that just reach the largest weights."""
    by_group = form.group_scales == "u8"
    count = -(-weight.shape[1] // GROUP_INPUTS) if by_group else 1
    grouped = _grouped(weight, count)
    counts = _grouped(torch.ones_like(weight[:1]) if importance is None else importance.to(weight)[None], count)
    reach = grouped.abs().amax(-1) / form.high  # [N, count]
    unit = reach.amax(1) / _LARGEST  # of the integer scales
    best, least = torch.zeros_like(reach), torch.full_like(reach, float("inf"))
    for share in _SHARES[form.bits]:
        tried = _integers(reach * share, unit) * unit[:, None] if by_group else reach * share
        error = (_levels(grouped, form, tried[..., None]) * tried[..., None] - grouped).square_().mul_(counts).sum(-1)
        better = error < least
        best, least = torch.where(better, tried, best), torch.where(better, error, least)
    if not by_group:
        return Steps(None, _fitted(grouped, form, counts, torch.ones_like(best), best[:, 0]))
    integers = _integers(best, unit)
    return Steps(integers.to(torch.uint8), _fitted(grouped, form, counts, integers, unit))


def _fitted(grouped: Tensor, form: PackedFormat, counts: Tensor, integers: Tensor, channels: Tensor) -> Tensor:
    """The channel scales of least error for the levels that `channels` give."""
    levels = _levels(grouped, form, (integers * channels[:, None])[..., None]) * integers[..., None]
    above, below = (grouped * levels * counts).sum((1, 2)), (levels.square() * counts).sum((1, 2))
    return torch.where(below > 0, above / below.clamp(min=torch.finfo(below.dtype).tiny), channels)


def _levels(grouped: Tensor, form: PackedFormat, steps: Tensor) -> Tensor:
    """Nearest integers within the format's bounds; 0 where a step is 0."""
    return (grouped * inverse_of(steps)).round_().clamp_(form.low, form.high)


def inverse_of(steps: Tensor) -> Tensor:
    """1 over each step; 0 for one that is none."""
    return torch.where(steps > _LEAST, 1 / steps, 0.0)


def _integers(steps: Tensor, unit: Tensor) -> Tensor:
    """The integer scales nearest to `steps`, 1..255."""
    return (steps * inverse_of(unit)[:, None]).round_().clamp_(1, 255)


def _grouped(weight: Tensor, count: int) -> Tensor:
    """`[N, K]` -> `[N, count, K / count]`, zeros where the last group is short."""
    width = -(-weight.shape[1] // count) if count == 1 else GROUP_INPUTS
    grouped: Tensor = F.pad(weight, (0, count * width - weight.shape[1])).unflatten(1, (count, width))
    return grouped
