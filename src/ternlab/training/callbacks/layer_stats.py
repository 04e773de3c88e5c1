"""Per-layer statistics of the quantization, once per epoch, because a pass over all weights is too slow per step."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from ternlab.quantizers.weights import LayerWeight, quantized_weights
from ternlab.runs.metrics import MetricsTable
from ternlab.training.callbacks.order import Stage
from ternlab.training.update_rule import TernaryOptimizer


class LayerStats(Callback):
    """Logs each layer's threshold, scale, sparsity, threshold gradient before the clamp, flip ratio and more.

    The flip ratio is the fraction of a layer's weights whose codes changed since the end of the previous epoch.

    Args:
        table: where the rows go; `None` on all processes but the first.
    """

    stage = Stage.COUNTING

    def __init__(self, table: MetricsTable | None) -> None:
        self._table = table
        self._before: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the codes at the end of the last epoch."""
        return {"codes": dict(self._before)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the codes of the last epoch before the checkpoint."""
        self._before = dict(state_dict["codes"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Delete the rows after the checkpoint; in a new run, remember the initial codes."""
        if self._table is not None:
            self._table.keep_until(trainer.global_step)
        if not self._before:
            self._before = _all_codes(pl_module)

    def of_epoch(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, float]:
        """Write one row per quantized layer; called once at the end of an epoch.

        Returns:
            the means over all quantized weights, as `quant/sparsity` and `quant/flip_ratio`.
        """
        gradients = _threshold_gradients(trainer)
        now = _all_codes(pl_module)
        rows = [self._row(weight, now[weight.name], gradients) for weight in quantized_weights(pl_module)]
        self._before = now
        position = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        if self._table is not None:
            self._table.add(*({**position, **row} for row in rows))
        weights = sum(row["weights"] for row in rows)
        return {
            f"quant/{key}": sum(row[key] * row["weights"] for row in rows) / weights
            for key in ("sparsity", "flip_ratio")
        }

    def _row(self, weight: LayerWeight, now: Tensor, gradients: dict[int, float]) -> dict[str, Any]:
        before = self._before[weight.name].to(now.device)
        row: dict[str, Any] = {
            "layer": weight.name.removeprefix("model."),
            "weights": now[0].numel(),
            **weight.rule.statistics(weight.latent),
            "sparsity": float((now == 0).all(0).double().mean()),
            "flip_ratio": float((now != before).any(0).double().mean()),
        }
        of_layer = [gradients[id(p)] for p in weight.rule.thresholds() if id(p) in gradients]
        if of_layer:
            row["threshold_gradient"] = sum(of_layer) / len(of_layer)
        return row


def _all_codes(module: nn.Module) -> dict[str, Tensor]:
    return {weight.name: weight.codes().stacked() for weight in quantized_weights(module)}


def _threshold_gradients(trainer: pl.Trainer) -> dict[int, float]:
    optimizer: torch.optim.Optimizer = trainer.optimizers[0]
    if not isinstance(optimizer, TernaryOptimizer):
        return {}
    thresholds = [threshold for group in optimizer.thresholds.param_groups for threshold in group["params"]]
    return dict(zip(map(id, thresholds), optimizer.mean_gradients(), strict=True))
