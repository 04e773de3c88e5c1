"""Per-layer statistics of the quantization, once per epoch, because a pass over all weights is too slow per step."""

from __future__ import annotations

import logging
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from ternlab.quantizers.faults import fault_message
from ternlab.quantizers.weights import LayerWeight, quantized_weights
from ternlab.runs.metrics import MetricsTable
from ternlab.training.callbacks.order import Stage
from ternlab.training.update_rule import TernaryOptimizer

_log = logging.getLogger(__name__)


class LayerStats(Callback):
    """Logs each layer's threshold, scale, sparsity, threshold gradient before the clamp, flip ratio and more.

    The flip ratio is the fraction of a layer's weights whose codes changed since the end of the previous epoch. A layer
    that cannot learn is reported once.

    Args:
        table: where the rows go; `None` on all processes but the first, which also report no layers.

    Attributes:
        faults: the layers that could not learn, each with `layer`, with `epoch` (from 0) and `step` at which this was
            found, and with `fault`.
    """

    stage = Stage.COUNTING

    def __init__(self, table: MetricsTable | None) -> None:
        self._table = table
        self._before: dict[str, Tensor] = {}
        self.faults: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the codes at the end of the last epoch, and the layers that have been reported."""
        return {"codes": dict(self._before), "faults": list(self.faults)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state at the last epoch before the checkpoint."""
        self._before = dict(state_dict["codes"])
        # Checkpoints of earlier versions have none.
        self.faults = list(state_dict.get("faults", ()))

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
        self._report_faults(pl_module, position)
        if self._table is not None:
            self._table.add(*({**position, **row} for row in rows))
        weights = sum(row["weights"] for row in rows)
        return {
            f"quant/{key}": sum(row[key] * row["weights"] for row in rows) / weights
            for key in ("sparsity", "flip_ratio")
        }

    def _report_faults(self, pl_module: pl.LightningModule, position: dict[str, int]) -> None:
        reported = {found["layer"] for found in self.faults}
        for weight in quantized_weights(pl_module):
            shown = weight.name.removeprefix("model.")
            fault = None if shown in reported else weight.rule.fault(weight.latent)
            if fault is None:
                continue
            self.faults.append({"layer": shown, **position, "fault": fault.what})
            if self._table is not None:
                _log.warning("%s", fault_message(shown, weight.rule, fault, in_run=True))

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
