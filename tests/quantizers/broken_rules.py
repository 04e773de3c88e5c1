"""Rules that each break one promise of the contract, and the sound rule that they are made from."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from ternlab.quantizers.base import Assignment, Codes, Quantizer
from ternlab.quantizers.options import RuleOptions
from ternlab.quantizers.statistics import smallest, widened


class BrokenOptions(RuleOptions):
    """No options of their own."""


class Sound(Quantizer):
    """Thresholds at 0.7 mean|w|, and a trained scale that starts at mean|w|."""

    def __init__(self, weight: Tensor, options: RuleOptions) -> None:
        super().__init__(weight, options)
        self.raw = nn.Parameter(self.size(weight))

    def size(self, weight: Tensor) -> Tensor:
        return widened(weight).abs().mean()

    def assign(self, weight: Tensor) -> Assignment:
        with torch.no_grad():
            wide, threshold = widened(weight), 0.7 * self.size(weight)
            codes = self.coded(wide, threshold).to(weight.dtype)
        return Assignment(codes, self.raw, thresholds=(-threshold, threshold))

    def coded(self, wide: Tensor, threshold: Tensor) -> Tensor:
        return (wide > threshold).to(wide.dtype) - (wide < -threshold).to(wide.dtype)


class _ChangesPlane(Sound):
    """Changes the codes after they were made."""

    def codes(self, weight: Tensor) -> Codes:
        (plane,) = super().codes(weight).planes
        return Codes((dataclasses.replace(plane, **self.change(plane.codes)),))

    def change(self, codes: Tensor) -> dict[str, Any]:
        raise NotImplementedError


class WideCodes(_ChangesPlane):
    def change(self, codes: Tensor) -> dict[str, Any]:
        return {"codes": codes.long()}


class FlatCodes(_ChangesPlane):
    def change(self, codes: Tensor) -> dict[str, Any]:
        return {"codes": codes.flatten()}


class NarrowAlphabet(_ChangesPlane):
    def change(self, codes: Tensor) -> dict[str, Any]:
        return {"alphabet": range(2)}


class FourLevels(Sound):
    alphabet = range(-1, 3)

    def coded(self, wide: Tensor, threshold: Tensor) -> Tensor:
        return super().coded(wide, threshold) + (wide > 2 * threshold)


class ScaleOfEachWeight(Sound):
    def assign(self, weight: Tensor) -> Assignment:
        found = super().assign(weight)
        return dataclasses.replace(found, scale=found.scale + widened(weight).detach().abs())


class MoreAbove(Sound):
    def coded(self, wide: Tensor, threshold: Tensor) -> Tensor:
        return (wide > threshold).to(wide.dtype) - (wide < -2 * threshold).to(wide.dtype)


class FixedThreshold(Sound):
    def coded(self, wide: Tensor, threshold: Tensor) -> Tensor:
        return super().coded(wide, torch.full_like(threshold, 0.05))


class OtherForward(Sound):
    def forward(self, weight: Tensor) -> Tensor:
        return super().forward(weight) * (1 + torch.finfo(weight.dtype).eps)


class OnlyFloat32(Sound):
    def forward(self, weight: Tensor) -> Tensor:
        return super().forward(weight.float())


class DropsTheGradient(Sound):
    def assign(self, weight: Tensor) -> Assignment:
        return dataclasses.replace(super().assign(weight), direct=torch.zeros_like(weight))


class DetachedParameter(Sound):
    def assign(self, weight: Tensor) -> Assignment:
        found = super().assign(weight)
        return dataclasses.replace(found, scale=found.scale.detach())


class InfiniteGradient(Sound):
    def assign(self, weight: Tensor) -> Assignment:
        found = super().assign(weight)
        return dataclasses.replace(found, direct=1 / found.codes.abs())


class RandomCodes(Sound):
    def coded(self, wide: Tensor, threshold: Tensor) -> Tensor:
        return super().coded(wide + threshold * torch.randn_like(wide), threshold)


class Counting(Sound):
    passes = 0

    def assign(self, weight: Tensor) -> Assignment:
        self.passes += 1
        found = super().assign(weight)
        return dataclasses.replace(found, scale=found.scale * (1 + 0.001 * self.passes))


class DividesByTheLargest(Sound):
    def assign(self, weight: Tensor) -> Assignment:
        found = super().assign(weight)
        return dataclasses.replace(found, codes=found.codes + 0 * weight.detach() / weight.detach().abs().max())


class SquaresTheWeights(Sound):
    def size(self, weight: Tensor) -> Tensor:
        return widened(weight).square().mean().sqrt()


class NoScaleInStatistics(Sound):
    def statistics(self, weight: Tensor) -> dict[str, float]:
        return {"size": 1.0}


class NotANumber(Sound):
    def statistics(self, weight: Tensor) -> dict[str, float]:
        return {**super().statistics(weight), "odd": float("nan")}


class ForgetsItsState(Sound):
    """Keeps a statistic of its first weights outside of the state."""

    def __init__(self, weight: Tensor, options: RuleOptions) -> None:
        super().__init__(weight, options)
        self.first = self.size(weight).detach()

    def coded(self, wide: Tensor, threshold: Tensor) -> Tensor:
        return super().coded(wide, 0.7 * self.first)


class SharesItsParameter(Sound):
    def __deepcopy__(self, memo: dict[int, Any]) -> Sound:
        twin = type(self)(self.raw.detach().reshape(1), self.options)
        twin.raw = self.raw
        return twin


class GradientKnowsProcesses(Sound):
    def assign(self, weight: Tensor) -> Assignment:
        from torch import distributed

        factor = 2.0 if distributed.is_initialized() else 1.0
        return dataclasses.replace(super().assign(weight), direct=torch.full_like(weight, factor))


class CastsUnderAutocast(Sound):
    def forward(self, weight: Tensor) -> Tensor:
        effective = super().forward(weight)
        return effective.bfloat16() if torch.is_autocast_enabled("cpu") else effective


class MultipliesUnderAutocast(Sound):
    """A matrix product is computed in bfloat16 under autocast, and so are these thresholds."""

    def size(self, weight: Tensor) -> Tensor:
        flat = widened(weight).abs().reshape(1, -1)
        return (flat @ torch.full_like(flat.T, 1 / flat.numel())).to(flat.dtype).reshape(())


class ElseWhenTraced(Sound):
    def forward(self, weight: Tensor) -> Tensor:
        effective = super().forward(weight)
        return effective * 2 if torch.compiler.is_compiling() else effective


class KnowsLayers(Sound):
    """Computes with other weights when they are a parameter of a layer."""

    def forward(self, weight: Tensor) -> Tensor:
        effective = super().forward(weight)
        return effective * 2 if isinstance(weight, nn.Parameter) else effective


class SumsInTheDtype(Sound):
    def size(self, weight: Tensor) -> Tensor:
        return weight.abs().mean().clamp(min=smallest(weight.dtype)).float()


class NarrowParameter(Sound):
    def __init__(self, weight: Tensor, options: RuleOptions) -> None:
        super().__init__(weight, options)
        self.raw = nn.Parameter(self.raw.detach().to(weight.dtype))


class HidesWhatIsNoNumber(Sound):
    def forward(self, weight: Tensor) -> Tensor:
        found = self.assign(weight)
        return found.codes * found.scale
