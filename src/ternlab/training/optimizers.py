"""Builds the optimizer from the settings: which parameters are decayed, and which are thresholds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import nn
from torch.optim import SGD, Optimizer

from ternlab.core.registry import imported
from ternlab.optimizers.registry import OPTIMIZERS, Groups, optim_settings
from ternlab.optimizers.settings import OptimSettings
from ternlab.quantizers.base import Quantizer
from ternlab.quantizers.options import TrainedThresholdOptions
from ternlab.quantizers.weights import quantized_weights
from ternlab.settings.quant import QuantSettings
from ternlab.training.update_rule import TernaryOptimizer

_NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm2d,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


def build_optimizer(model: nn.Module, optim: OptimSettings, quant: QuantSettings) -> Optimizer:
    """Return the optimizer of a run.

    A network without trained thresholds gets only the optimizer of its weights; this includes trained scales, which
    are not decayed. Thresholds are always updated by SGD with Nesterov momentum 0.9 and without decay, as in the
    published TGA code, whatever the optimizer of the weights.
    """
    thresholds = list(threshold_parameters(model))
    optim = optim_settings(optim)
    build: Callable[[Groups, OptimSettings], Optimizer] = imported(OPTIMIZERS[optim.name].builder)
    weights = build(_weight_groups(model, thresholds, optim), optim)
    if not thresholds:
        return weights
    groups, clamps = _threshold_groups(model, optim)
    return TernaryOptimizer(
        weights,
        SGD(groups, lr=optim.lr, momentum=0.9, nesterov=True, weight_decay=0.0),
        sequential=quant.sequential,
        clamps=clamps,
    )


def threshold_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the trainable thresholds of all quantized layers, in network order."""
    for weight in quantized_weights(model):
        yield from weight.rule.thresholds()


def _threshold_groups(model: nn.Module, optim: OptimSettings) -> tuple[Groups, list[float | None]]:
    """Return one group of thresholds per combination of learning rate and clamp, and the clamps."""
    groups: dict[tuple[float, float | None], list[nn.Parameter]] = {}
    for weight in quantized_weights(model):
        rule = weight.rule
        thresholds = list(rule.thresholds())
        if not thresholds:
            continue
        if not isinstance(rule.options, TrainedThresholdOptions):
            raise TypeError(
                f"The options of a rule with thresholds must be TrainedThresholdOptions, not {type(rule.options)}."
            )
        options = rule.options.threshold
        groups.setdefault((optim.lr if options.lr is None else options.lr, options.clamp), []).extend(thresholds)
    found = [{"params": params, "name": "thresholds", "lr": lr} for (lr, _), params in groups.items()]
    return found, [clamp for _, clamp in groups]


def _weight_groups(model: nn.Module, thresholds: list[nn.Parameter], optim: OptimSettings) -> Groups:
    apart = {id(parameter) for parameter in thresholds}
    groups: dict[str, list[nn.Parameter]] = {"weights": [], "norms": [], "biases": [], "scales": []}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in apart:
                continue
            apart.add(id(parameter))
            groups[_kind(module, name)].append(parameter)
    decays = {"weights": True, "norms": optim.decay_bn, "biases": optim.decay_bias, "scales": False}
    return [
        {"params": parameters, "name": kind, "weight_decay": optim.weight_decay if decays[kind] else 0.0}
        for kind, parameters in groups.items()
        if parameters
    ]


def _kind(module: nn.Module, name: str) -> str:
    if isinstance(module, Quantizer):
        return "scales"
    if isinstance(module, _NORMS):
        return "norms"
    return "biases" if name == "bias" else "weights"
