"""Trained scales that stay positive."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ternlab.quantizers.statistics import smallest, widened


class _Positive(torch.autograd.Function):
    """Forward: max(|raw|, floor). Backward: times the sign and `gradient_scale`, also below the floor."""

    @staticmethod
    def forward(ctx: Any, raw: Tensor, gradient_scale: float) -> Tensor:
        ctx.save_for_backward(raw)
        ctx.gradient_scale = gradient_scale
        return raw.abs().clamp(min=smallest(raw.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (raw,) = ctx.saved_tensors
        signed = torch.where(raw < 0, -grads[0], grads[0])
        return signed * ctx.gradient_scale, None


def positive(raw: Tensor, gradient_scale: float = 1.0) -> Tensor:
    """Return |raw| in float32 or wider, kept above a tiny floor.

    An optimizer step that would move a scale below 0 is reflected; in published code scales then become negative, and
    codes change sign. The gradient passes through the floor, so that a scale can leave it.

    Args:
        raw: the trained parameter, of any shape.
        gradient_scale: factor of its gradient.
    """
    # Widened first: in float16 the floor would be 0.06.
    scale: Tensor = _Positive.apply(widened(raw), gradient_scale)
    return scale
