"""Builds the optimizer of a run from its settings."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.optim import SGD, Optimizer

from ternlab.core.registry import imported
from ternlab.optimizers.groups import thresholds_of_layers, weight_groups
from ternlab.optimizers.registry import OPTIMIZERS, Groups, optim_settings
from ternlab.optimizers.settings import OptimSettings
from ternlab.quantizers.guard import unguard
from ternlab.settings.quant import QuantSettings
from ternlab.training.update_rule import TernaryOptimizer


def build_optimizer(model: nn.Module, optim: OptimSettings, quant: QuantSettings) -> Optimizer:
    """Return the optimizer of a run.

    A network without trained thresholds gets only the optimizer of its weights; this includes trained scales, which
    are not decayed. Thresholds are always updated by SGD with Nesterov momentum 0.9 and without decay, as in the
    published TGA code, whatever the optimizer of the weights. Rules are no longer guarded afterwards.
    """
    unguard(model)
    optim = optim_settings(optim)
    build: Callable[[Groups, OptimSettings], Optimizer] = imported(OPTIMIZERS[optim.name].builder)
    groups = weight_groups(model, weight_decay=optim.weight_decay, decay_bn=optim.decay_bn, decay_bias=optim.decay_bias)
    weights = build(groups, optim)
    groups, clamps = _threshold_groups(model, optim)
    if not groups:
        return weights
    return TernaryOptimizer(
        weights,
        SGD(groups, lr=optim.lr, momentum=0.9, nesterov=True, weight_decay=0.0),
        sequential=quant.sequential,
        clamps=clamps,
    )


def _threshold_groups(model: nn.Module, optim: OptimSettings) -> tuple[Groups, list[float | None]]:
    """Return one group of thresholds per combination of learning rate and clamp, and the clamps."""
    groups: dict[tuple[float, float | None], list[nn.Parameter]] = {}
    for options, thresholds in thresholds_of_layers(model):
        groups.setdefault((optim.lr if options.lr is None else options.lr, options.clamp), []).extend(thresholds)
    found = [{"params": params, "name": "thresholds", "lr": lr} for (lr, _), params in groups.items()]
    return found, [clamp for _, clamp in groups]
