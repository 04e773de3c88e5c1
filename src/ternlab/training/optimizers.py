"""From settings to an optimizer: which parameters decay, and which are thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from ternlab.quantizers.attach import quantized_layers, quantizer_of
from ternlab.settings.optim import OptimSettings
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

    A network without thresholds gets the optimizer of its weights alone; thresholds are stepped by SGD with
    Nesterov momentum 0.9 and without decay, as in the authors' program, whatever steps the weights.
    """
    thresholds = list(threshold_parameters(model))
    weights = _weight_optimizer(_weight_groups(model, thresholds, optim), optim)
    if not thresholds:
        return weights
    options: Any = quant.rule
    lr = optim.lr if options.threshold.lr is None else options.threshold.lr
    return TernaryOptimizer(
        weights,
        SGD([{"params": thresholds, "name": "thresholds"}], lr=lr, momentum=0.9, nesterov=True, weight_decay=0.0),
        sequential=options.update == "sequential",
        clamp=options.threshold.clamp,
    )


def threshold_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the trainable thresholds of all quantized layers, in the network's order."""
    for _, layer in quantized_layers(model):
        yield from quantizer_of(layer).thresholds()


def _weight_groups(model: nn.Module, thresholds: list[nn.Parameter], optim: OptimSettings) -> list[dict[str, Any]]:
    apart = {id(parameter) for parameter in thresholds}
    groups: dict[str, list[nn.Parameter]] = {"weights": [], "norms": [], "biases": []}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in apart:
                continue
            apart.add(id(parameter))
            kind = "norms" if isinstance(module, _NORMS) else "biases" if name == "bias" else "weights"
            groups[kind].append(parameter)
    decays = {"weights": True, "norms": optim.decay_bn, "biases": optim.decay_bias}
    return [
        {"params": parameters, "name": kind, "weight_decay": optim.weight_decay if decays[kind] else 0.0}
        for kind, parameters in groups.items()
        if parameters
    ]


def _weight_optimizer(groups: list[dict[str, Any]], optim: OptimSettings) -> Optimizer:
    if optim.name == "sgd":
        return SGD(groups, lr=optim.lr, momentum=optim.momentum, nesterov=optim.nesterov)
    adam = Adam if optim.name == "adam" else AdamW
    return adam(groups, lr=optim.lr, betas=optim.betas, eps=optim.eps)
