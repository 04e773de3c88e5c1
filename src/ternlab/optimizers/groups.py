"""Parameter groups: which parameters are decayed, and which are thresholds."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from ternlab.optimizers.registry import Groups
from ternlab.quantizers.base import Quantizer
from ternlab.quantizers.options import ThresholdOptions, TrainedThresholdOptions
from ternlab.quantizers.weights import quantized_weights

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


def param_groups(
    model: nn.Module,
    *,
    lr: float,
    threshold_lr: float | None = None,
    weight_decay: float = 0.0,
    decay_bn: bool = False,
    decay_bias: bool = False,
) -> Groups:
    """Return parameter groups of `model` for a torch optimizer in a loop of your own; a run has the same.

        optimizer = torch.optim.SGD(ternlab.param_groups(model, lr=0.01, weight_decay=1e-4), momentum=0.9)

    Args:
        model: any network, quantized or not.
        lr: learning rate of everything but the thresholds.
        threshold_lr: learning rate of the thresholds. Default: `threshold.lr` of their rule, else `lr`. Adam moves a
            parameter by about its learning rate in each step, whatever the gradient, so thresholds (about 0.01) need a
            smaller one there, such as 1e-5.
        weight_decay: weight decay of the weights. Thresholds and trained scales are never decayed.
        decay_bn, decay_bias: whether the parameters of normalization layers and biases are also decayed.

    Returns:
        the groups that are not empty, in this order: `weights`, `norms`, `biases`, `scales` (trained scales, steps and
        ranges), `thresholds` (one group per learning rate). Each has `params`, `name`, `lr` and `weight_decay`, and
        every parameter is in one of them.
    """
    groups = weight_groups(model, weight_decay=weight_decay, decay_bn=decay_bn, decay_bias=decay_bias)
    found: Groups = [{**group, "lr": lr} for group in groups]
    by_rate: dict[float, list[nn.Parameter]] = {}
    for options, thresholds in thresholds_of_layers(model):
        own = threshold_lr if threshold_lr is not None else options.lr
        by_rate.setdefault(lr if own is None else own, []).extend(thresholds)
    for rate, thresholds in by_rate.items():
        found.append({"params": thresholds, "name": "thresholds", "lr": rate, "weight_decay": 0.0})
    return found


def threshold_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the trainable thresholds of all quantized layers, in network order."""
    for weight in quantized_weights(model):
        yield from weight.rule.thresholds()


def thresholds_of_layers(model: nn.Module) -> Iterator[tuple[ThresholdOptions, list[nn.Parameter]]]:
    """Yield the options and the thresholds of each layer that has some, in network order."""
    for weight in quantized_weights(model):
        rule = weight.rule
        thresholds = list(rule.thresholds())
        if not thresholds:
            continue
        if not isinstance(rule.options, TrainedThresholdOptions):
            raise TypeError(
                f"The options of a rule with thresholds must be TrainedThresholdOptions, not {type(rule.options)}."
            )
        yield rule.options.threshold, thresholds


def weight_groups(model: nn.Module, *, weight_decay: float, decay_bn: bool, decay_bias: bool) -> Groups:
    """Return one group per kind of parameter, without the thresholds; each has its weight decay, and none a rate."""
    apart = {id(parameter) for parameter in threshold_parameters(model)}
    groups: dict[str, list[nn.Parameter]] = {"weights": [], "norms": [], "biases": [], "scales": []}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in apart:
                continue
            apart.add(id(parameter))
            groups[_kind(module, name)].append(parameter)
    decays = {"weights": True, "norms": decay_bn, "biases": decay_bias, "scales": False}
    return [
        {"params": parameters, "name": kind, "weight_decay": weight_decay if decays[kind] else 0.0}
        for kind, parameters in groups.items()
        if parameters
    ]


def _kind(module: nn.Module, name: str) -> str:
    if isinstance(module, Quantizer):
        return "scales"
    if isinstance(module, _NORMS):
        return "norms"
    return "biases" if name == "bias" else "weights"
