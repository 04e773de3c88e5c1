"""Base class of the quantization rules: a parametrization that also returns its codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ternlab.quantizers.options import RuleOptions
from ternlab.quantizers.statistics import smallest
from ternlab.quantizers.surrogates import gradient_factor

TERNARY = range(-1, 2)
BINARY = range(-1, 2, 2)

# That this many codes are all the same and not 0 is no coincidence.
_MANY = 32


@dataclass(frozen=True)
class Plane:
    """Integer codes and their scale, whose product is the effective weight or a summand of it.

    Attributes:
        codes: int8, in the weight's shape; every value is in `alphabet`.
        scale: in the weight's dtype, broadcastable to the weight's shape: a scalar for one scale per layer,
            (filters, 1, ...) for one per filter; (1, filters, 1, ...) in transposed convolutions, whose filters are in
            the second dimension, or (groups, 1, filters per group, 1, ...) if they have several groups: broadcastable
            to the weight with its groups split off.
        alphabet: the integers that the rule may use, e.g. -1, 0, 1.
        negative_scale: the scale of the negative codes if it differs (shape of `scale`).
        thresholds: the two weight values between which the code is 0, float32 or wider, shape (2, *scale.shape);
            `None` for rules without a zero code or with more than three levels.
    """

    codes: Tensor
    scale: Tensor
    alphabet: range = TERNARY
    negative_scale: Tensor | None = None
    thresholds: Tensor | None = None

    def effective(self) -> Tensor:
        """Return codes times scale, bit-identical to the layer's computation."""
        codes = self.codes.to(self.scale.dtype)
        if self.scale.ndim <= codes.ndim:
            return _scaled(codes, self.scale, self.negative_scale)
        by_group = codes.reshape(self.scale.shape[0], -1, *codes.shape[1:])
        return _scaled(by_group, self.scale, self.negative_scale).flatten(0, 1)


@dataclass(frozen=True)
class Codes:
    """A quantized weight: one plane for most rules, several for residual expansion.

    Attributes:
        planes: at least one; the effective weight is their sum.
    """

    planes: tuple[Plane, ...]

    def effective(self) -> Tensor:
        """Return the effective weight, bit-identical to the one that the layer uses."""
        total = self.planes[0].effective()
        for plane in self.planes[1:]:
            total = total + plane.effective()
        return total

    def stacked(self) -> Tensor:
        """Return the codes of all planes: int8, shape (planes, *weight.shape)."""
        return torch.stack([plane.codes for plane in self.planes])

    def zeros(self) -> int:
        """Return the number of weights whose code is 0 in every plane."""
        return int((self.stacked() == 0).all(0).sum())


@dataclass(frozen=True)
class Assignment:
    """A rule's decision about a weight, from which `Quantizer` derives effective weight, gradient and codes.

    Attributes:
        codes: integers in the weight's dtype, without gradient.
        scale: float32 or wider; with a gradient if the rule trains it.
        negative_scale: the scale of the negative codes if it differs.
        thresholds: the weight values below and above which the code is not 0, each in the scale's shape.
        inside: bool mask of the weights inside the range that the rule clips to; `None` for rules without a range.
        direct: factor of the straight-through gradient of the latent weight; `None` means 1.
        slope: derivative of the effective weight with respect to the scale; `None` means the code.
    """

    codes: Tensor
    scale: Tensor
    negative_scale: Tensor | None = None
    thresholds: tuple[Tensor, Tensor] | None = None
    inside: Tensor | None = None
    direct: Tensor | None = None
    slope: Tensor | None = None


@dataclass(frozen=True)
class Fault:
    """Why a layer cannot learn.

    Attributes:
        what: follows the layer's name in a message ("all of its codes are 0").
        instead: what to do about it; names of options are in braces (`a smaller {factor}`).
    """

    what: str
    instead: str


class Quantizer(nn.Module):
    """Base class of the rules: maps a latent weight to its effective weight.

    It is attached with `torch.nn.utils.parametrize`, so any network can be quantized without changing its code. A
    rule implements `assign`; forward, gradient and codes follow from it. Statistics are computed in float32 or
    wider, even under autocast.

    Args:
        weight: the layer's latent weight, of any shape with at least one element; trained scales and thresholds are
            initialized from it.
        options: the rule's validated options.

    Attributes:
        alphabet: the possible codes.
        guarded: whether any loop may train the layer, rather than a run (see `ternlab.quantizers.guard`); a rule may
            then keep the layer alive where its published form would not. `ternlab.quantize` sets it.
    """

    alphabet: range = TERNARY
    guarded: bool = False

    def __init__(self, weight: Tensor, options: RuleOptions) -> None:
        super().__init__()
        self.options = options

    @classmethod
    def fits(cls, weight: Tensor, options: RuleOptions) -> bool:
        """Return whether the rule applies to a layer with this weight, which stays in full precision otherwise.

        Every weight by default. A rule that overrides this needs real weights, and its options say so
        (`RuleOptions.reads_weights`).
        """
        return True

    def assign(self, weight: Tensor) -> Assignment:
        """Return codes and scale of `weight`, and what determines their gradients."""
        raise NotImplementedError

    def forward(self, weight: Tensor) -> Tensor:
        """Return the effective weight, in the shape and dtype of `weight`.

        Backward: the gradient passes straight through to `weight`, times the surrogate's factor; each scale gets the
        sum of the gradient times its slope.
        """
        found = self.assign(weight)
        direct = _product(found.direct, self._surrogate(weight, found))
        negative = None if found.negative_scale is None else found.negative_scale.to(weight.dtype)
        scale = found.scale.to(weight.dtype)
        # A NaN or infinite weight must show up in the loss even if its code only depends on its sign. This also turns
        # the code -0 of a small negative weight into 0.
        finite = weight.detach() - weight.detach()
        effective: Tensor = _Effective.apply(weight, found.codes + finite, scale, negative, direct, found.slope)
        return effective

    @torch.no_grad()
    def codes(self, weight: Tensor) -> Codes:
        """Return codes that reproduce `forward(weight)` bit for bit."""
        found = self.assign(weight)
        negative = None if found.negative_scale is None else found.negative_scale.to(weight.dtype)
        thresholds = None if found.thresholds is None else torch.stack(found.thresholds)
        scale = found.scale.detach().to(weight.dtype)
        return Codes((Plane(found.codes.to(torch.int8), scale, self.alphabet, negative, thresholds),))

    def position(self, weight: Tensor, found: Assignment) -> Tensor:
        """Return the position of weights relative to the levels: levels at integers, boundaries halfway.

        Weights beyond the outermost level are clamped to it. The default implementation is for rules with thresholds.
        """
        if found.thresholds is None:
            raise NotImplementedError(f"{type(self).__name__} has no thresholds, so it must override `position`")
        low, high = found.thresholds
        width = (high - low).clamp(min=smallest(high.dtype))
        return ((weight.to(high.dtype) - (low + high) / 2) / width).clamp(self.alphabet[0], self.alphabet[-1])

    def thresholds(self) -> Iterator[nn.Parameter]:
        """Yield the parameters that the threshold optimizer updates; none by default.

        The options of a rule that has some are `TrainedThresholdOptions`. Other parameters (trained scales) are updated
        by the optimizer of the weights, without decay.
        """
        yield from ()

    @torch.no_grad()
    def statistics(self, weight: Tensor) -> dict[str, float]:
        """Return the logged statistics of a layer: `scale`, `threshold` and rule-specific ones; means over filters."""
        (plane,) = self.codes(weight).planes
        rows = {"scale": float(plane.scale.float().mean())}
        if plane.negative_scale is not None:
            rows["negative_scale"] = float(plane.negative_scale.float().mean())
        if plane.thresholds is not None:
            rows["threshold"] = float((plane.thresholds[1] - plane.thresholds[0]).mean() / 2)
        return rows

    @torch.no_grad()
    def fault(self, weight: Tensor) -> Fault | None:
        """Return why the layer cannot learn, as far as the rule can tell from `weight`; `None` if it can.

        It reads values, which on a GPU waits for the device. In a run, weights that are not finite are left to the
        loss, which ends it.
        """
        if not bool(weight.isfinite().all()):
            return Fault("some of its weights are NaN or infinite", "a smaller learning rate") if self.guarded else None
        if not bool(weight.any()):
            return Fault("all of its weights are 0", "other initial weights, or full precision for this layer")
        planes = self.codes(weight).stacked().flatten(1)
        first = planes[:, 0]
        if bool((planes == first[:, None]).all()) and (not bool(first.any()) or weight.numel() >= _MANY):
            values = ", ".join(str(code) for code in dict.fromkeys(first.tolist()))
            return Fault(f"all of its codes are {values}", self._smaller())
        surrogate = self.options.surrogate
        if surrogate.kind == "clipped" and surrogate.bound is not None:
            share = float((weight.abs() >= surrogate.bound).float().mean())
            if share > 0.5:
                what = f"{share:.0%} of its weights get no gradient: |w| >= surrogate.bound = {surrogate.bound:g}"
                return Fault(what, "a larger {surrogate.bound}")
        return None

    def _smaller(self) -> str:
        factor = "a smaller {factor}" if hasattr(self.options, "factor") else "another rule for this layer"
        trained = next(self.parameters(), None) is not None
        return f"a smaller learning rate, or {factor}" if trained else factor

    def _surrogate(self, weight: Tensor, found: Assignment) -> Tensor | None:
        return gradient_factor(self.options.surrogate, weight, found.inside, lambda: self.position(weight, found))


class _Effective(torch.autograd.Function):
    """Forward: codes times scale. Backward: straight through to the latent weight, and to the scales."""

    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        codes: Tensor,
        scale: Tensor,
        negative_scale: Tensor | None,
        direct: Tensor | None,
        slope: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(codes, scale, negative_scale, direct, slope)
        return _scaled(codes, scale, negative_scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        codes, scale, negative_scale, direct, slope = ctx.saved_tensors
        to_weight = grad if direct is None else grad * direct
        to_scale = to_negative = None
        if ctx.needs_input_grad[2] or ctx.needs_input_grad[3]:
            each = grad * (codes if slope is None else slope)
            if negative_scale is not None:
                to_negative = _sum_to(each * (codes < 0), negative_scale)
                each = each * (codes > 0)
            to_scale = _sum_to(each, scale)
        return to_weight, None, to_scale, to_negative, None, None


def _scaled(codes: Tensor, scale: Tensor, negative_scale: Tensor | None) -> Tensor:
    if negative_scale is None:
        return codes * scale
    return codes * torch.where(codes < 0, negative_scale, scale)


def _sum_to(each: Tensor, like: Tensor) -> Tensor:
    return each.sum_to_size(like.shape) if like.ndim else each.sum()


def _product(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first * second
