"""The room that trains: the reference's functions in fewer passes over memory, which keep little for the backward pass."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mistral7b.kernels.interface import PackedWeight
from mistral7b.kernels.packed import PackedPlan
from mistral7b.kernels.torch_room import TorchKernels


class TrainingKernels(TorchKernels):
    """`TorchKernels` without its promise of equal bits. Under torch.compile the reference's own functions stand, which the
    compiler fuses by itself."""

    def __init__(self) -> None:
        super().__init__(row_tile=None)

    def packed_linear(self, x: Tensor, weight: PackedWeight) -> Tensor:
        if torch.compiler.is_compiling():
            return super().packed_linear(x, weight)
        return _PackedLinear.apply(x, weight)  # type: ignore[no-untyped-call,no-any-return]

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        if torch.compiler.is_compiling():
            return super().rms_norm(x, weight, eps)
        return _RMSNorm.apply(x, weight, eps)  # type: ignore[no-untyped-call,no-any-return]

    def rope(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return super().rope(x, cos, sin)
        return _Rope.apply(x, cos, sin)  # type: ignore[no-untyped-call,no-any-return]

    def swiglu(self, gate: Tensor, up: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return super().swiglu(gate, up)
        return _SwiGLU.apply(gate, up)  # type: ignore[no-untyped-call,no-any-return]

    def plan_packed(self, positions: Tensor, window: int | None, device: torch.device) -> object:
        """Query blocks over window slices; where a backward pass follows, on CUDA FlexAttention's blocks, which has none on a
        CPU."""
        if device.type != "cuda" or not torch.is_grad_enabled():
            return super().plan_packed(positions, window, device)
        from mistral7b.kernels.flex import FlexPlan  # brings torch's compiler along

        return FlexPlan.of(positions, window, device)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, plan: object) -> Tensor:
        if isinstance(plan, PackedPlan):
            return super().attention(q, k, v, plan)
        from mistral7b.kernels.flex import FlexPlan

        assert isinstance(plan, FlexPlan), "a plan of this room"
        return plan.attend(q, k, v)


class _PackedLinear(torch.autograd.Function):
    """Keeps nothing but the packed matrix: the dense one is made for the product, and again on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: PackedWeight) -> Tensor:
        ctx.weight = weight
        return F.linear(x, weight.dense(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad @ ctx.weight.dense(grad.dtype), None


class _RMSNorm(torch.autograd.Function):
    """Keeps the input, which the residual stream holds anyway, and one number a row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = torch.rsqrt(norm.square_().div_(x.shape[-1]).add_(eps))
        ctx.save_for_backward(x, weight, scale)
        out = wide * scale
        return out.mul_(weight) if out.dtype == weight.dtype == x.dtype else out.type_as(x) * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """With y = s x w and s = (mean(x^2) + eps)^-1/2: dw = sum of s x g over rows, dx = s g w - s^3 x mean(x g w)."""
        x, weight, scale = ctx.saved_tensors
        wide, grad = x.float(), grad.float()
        product = grad * wide
        d_weight = (product.mT @ scale)[:, 0]
        pull = (product @ weight.float())[:, None] * scale.pow(3) / -x.shape[-1]
        d_x = torch.mul(grad, weight, out=product).mul_(scale).addcmul_(wide, pull)
        return d_x.to(x.dtype), d_weight.to(weight.dtype), None


class _Rope(torch.autograd.Function):
    """Adjacent channels as complex numbers: one product, and the conjugate's on the way back. Keeps the angles of all layers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, torch.complex(cos, sin))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(grad, torch.complex(cos, -sin)), None, None


def _turned(x: Tensor, turns: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.float().contiguous().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns[:, None]).flatten(-2).to(x.dtype)


class _SwiGLU(torch.autograd.Function):
    """Keeps gate and up; the gate's silu is made again."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        d_up = F.silu(gate).mul_(grad)
        return torch.ops.aten.silu_backward(grad * up, gate), d_up
